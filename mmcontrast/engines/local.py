"""One process, one device."""

from __future__ import annotations

from typing import Any

from mmcontrast import comm
from mmcontrast.config import Positive, config
from mmcontrast.engines import ENGINES
from mmcontrast.engines.replicated import Precision, Replicated
from mmcontrast.errors import LaunchError


@ENGINES.register("local")
class Local(Replicated):
    """Plain torch in one process: there is nothing to average."""

    @config
    class Config:
        """Fields of the engine."""

        device: str = "auto"  # auto: cuda when there is one, else cpu
        precision: Precision = "fp32"  # matrix products of the towers; weights, logit_scale and losses stay fp32
        clip_norm: Positive | None = None  # largest gradient norm; null: no clipping

    @staticmethod
    def start(config: Any) -> None:
        """Make sure that this is the only process.

        Raises:
            LaunchError: the launcher started several.
        """
        world_size = comm.launch().world_size
        if world_size > 1:
            error = LaunchError(
                f"engine 'local' is one process, but the launcher started {world_size}. "
                "Start one, or set engine.type to ddp or deepspeed."
            )
            error.on_every_rank = True
            raise error
