"""The fields of one tower's training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from mmcontrast.config import Count, NonNegativeCount, Positive, config

Part = Literal["embeddings", "norms", "final"]


@config
class LoRAConfig:
    """Trained low-rank matrices beside frozen ones.

    Source: Hu et al. 2021, arXiv:2106.09685.
    """

    rank: Count = 8
    alpha: Positive = 16.0  # what the matrices add is multiplied by alpha / rank
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0  # of what enters them
    targets: tuple[str, ...] = ()  # patterns of layer names, as in "*.mlp.*"; none: the tower's attention and MLPs


@config
class TowerTraining:
    """What of one tower is trained, from which weights, and how it is computed."""

    weights: Path | None = None  # where the weights start; a local file, transformers folder or run; null: random
    frozen: bool = False  # train nothing of the tower but what lora and the next two fields name
    unlocked_blocks: NonNegativeCount = 0  # the last so many blocks, and all that follows them, are trained after all
    unlocked: tuple[Part, ...] = ()  # parts that are trained after all: embeddings, norms, final (after the blocks)
    frozen_head: bool = False  # the head after the tower is not trained either
    lora: LoRAConfig | None = None  # adapters are trained and the tower is frozen; needs the extra lora
    checkpointing: bool = False  # compute the blocks' activations a second time in backward instead of keeping them
    compile: bool = False  # torch.compile the tower

    def __post_init__(self) -> None:
        if (self.unlocked_blocks or self.unlocked) and not self.locked:
            raise ValueError("unlocked_blocks and unlocked are parts of a frozen tower: set frozen: true.")

    @property
    def locked(self) -> bool:
        """Whether the tower's own weights are frozen but for the parts that are named."""
        return self.frozen or self.lora is not None
