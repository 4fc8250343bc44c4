"""Gradients of two ranks beside those of one process with the whole batch: every ZeRO stage, five kinds of run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcontrast.engines import ENGINES
from mmcontrast.model import Model, ModelConfig
from mmcontrast.objectives.infonce import InfoNCE
from mmcontrast.optim.adamw import AdamW
from mmcontrast.steps.plain import Plain
from mmcontrast.tuning.fields import TowerTraining
from mmcontrast.types import Batch, Column, Embeddings
from mmcontrast.verify_gradients import compare, lay_out_as
from tests import tiny
from tests.dist.pool import on_ranks
from tests.engines.test_replicated import share

ROWS = 12  # of the global batch
RANKS = 2
STAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "stage 0": ("ddp", {}),  # DeepSpeed's stage 0 shares nothing: the engine ddp stands in its place
    **{f"stage {stage}": ("deepspeed", {"stage": stage, "persist_elements": 0}) for stage in (1, 2, 3)},
}
ALL_PAIRS = (("image", "text"), ("audio", "text"), ("image", "audio"))


@dataclass(frozen=True)
class Kind:
    """What is trained, and on which columns."""

    pairs: tuple[tuple[str, str], ...] = ALL_PAIRS
    frozen: tuple[str, ...] = ()
    heard: int = ROWS  # rows, from the first on, that may hold a sound

    def model(self) -> Model:
        """The same weights on every rank; no dropout, for one process draws other masks than two."""
        names = sorted({name for pair in self.pairs for name in pair})
        towers = {name: tiny.TOWERS[name] for name in names}
        training = {name: TowerTraining(frozen=True) for name in self.frozen}
        torch.manual_seed(1)
        config = ModelConfig(dim=8, towers=towers, training=training)
        return Model(config, {"main": InfoNCE(InfoNCE.Config(pairs=self.pairs))}).eval()

    def batch(self) -> Batch:
        """Rows with missing cells."""
        whole = tiny.batch(ROWS, seed=2)
        audio = whole.columns["audio"]
        present = audio.present & (torch.arange(ROWS) < self.heard)
        cut = Column("audio", audio.values[: int(present.sum())], present)
        return Batch({**whole.columns, "audio": cut}, whole.labels, whole.keys)


KINDS = {
    "image-text": Kind(pairs=(("image", "text"),)),
    "audio-text": Kind(pairs=(("audio", "text"),)),
    "tri-modal": Kind(heard=ROWS // RANKS),  # the second rank hears no sound
    "frozen": Kind(frozen=("image",)),
    "unused": Kind(heard=0),  # no rank does
}
CASES = [f"{stage}, {kind}" for stage in STAGES for kind in KINDS]


def differences(folder: Path) -> dict[str, float]:
    """Of each case the largest difference, relative to the largest gradient of its tower, head or objective."""
    found = on_ranks(_gradients, RANKS, folder)
    largest: dict[str, float] = {}
    for case in CASES:
        stage, kind = case.split(", ")
        expected = _on_one_process(KINDS[kind], engine=STAGES[stage][0])
        largest[case] = max(each.largest for rank in found for each in compare(rank[case], expected))
    return largest


def _gradients() -> dict[str, dict[str, Tensor]]:
    """This rank's averaged gradients in every case."""
    return {case: _of_case(*case.split(", ")) for case in CASES}


def _of_case(stage: str, kind: str) -> dict[str, Tensor]:
    name, fields = STAGES[stage]
    config = ENGINES.get(name).Config(device="cpu", **fields)
    ENGINES.get(name).start(config)
    engine = ENGINES.build(config, model=KINDS[kind].model(), optimizer=AdamW(AdamW.Config(lr=1e-2)))
    step = Plain(Plain.Config(), engine=engine)
    # An update of nothing, after gradients of every parameter: what is left of them must not show.
    step(share(tiny.batch(ROWS, seed=0)))
    engine.step(lr_factor=0.0)
    step(share(KINDS[kind].batch()))
    return {name: value.clone() for name, value in engine.gradients().items()}


def _on_one_process(kind: Kind, *, engine: str) -> dict[str, Tensor]:
    """Gradients of the loss over all rows.

    As in ``verify_gradients``, each rank's rows are embedded in a call of their own, and weights lie in memory as the
    engine's do: a convolution of other sizes or strides is another kernel, whose rounding alone reaches 4e-6.
    """
    model = kind.model()
    lay_out_as(ENGINES.get(engine), model)
    rows = ROWS // RANKS
    parts: list[Embeddings] = [
        model("embed", kind.batch().rows(slice(rank * rows, (rank + 1) * rows))) for rank in range(RANKS)
    ]
    model("loss", Embeddings.join(parts)).loss.backward()
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
