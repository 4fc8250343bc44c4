"""Milliseconds-fast models and batches over all three modalities."""

from __future__ import annotations

from typing import Any

import torch

from mmcontrast.copies import FrozenCopy
from mmcontrast.engines import ENGINES
from mmcontrast.engines.local import Local
from mmcontrast.front_ends.log_mel import LogMelConfig
from mmcontrast.geometry.sphere import Sphere
from mmcontrast.model import Model, ModelConfig
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.optim.adamw import AdamW
from mmcontrast.towers.small_audio_cnn import SmallAudioCNN
from mmcontrast.towers.small_resnet import SmallResNet
from mmcontrast.towers.text_transformer import TextTransformer
from mmcontrast.tuning.fields import TowerTraining
from mmcontrast.types import Batch, Column
from tests.contracts.objective_examples import CURVED, OBJECTIVE_EXAMPLES

MEL = LogMelConfig(sample_rate_hz=8000, fft_samples=256, window_samples=256, hop_samples=128, mels=16, high_hz=4000.0)
TOWERS = {
    "image": SmallResNet.Config(size=16, widths=(8, 16), blocks=(1, 1), groups=4),
    "audio": SmallAudioCNN.Config(
        seconds=0.25, mel=MEL, widths=(8, 16), groups=4, queries=2, mask_mels=2, mask_frames=2
    ),
    "text": TextTransformer.Config(width=16, layers=1, heads=2, buckets=64, context_length=16, dropout=0.1),
}
# Columns that a source derives: another view, a made negative, a mined one.
DERIVED = ("image.mined", "image.view2", "text.swapped", "text.view2")


def teacher(*, dim: int = 6) -> FrozenCopy:
    """Encoders that differ from every :func:`model`'s in weights and width."""
    torch.manual_seed(100)
    built = Model(ModelConfig(dim=dim, towers=TOWERS))
    return FrozenCopy(built.towers, built.heads, built.geometry, dim=dim)


def model(objective: str = "infonce", *, seed: int = 0, training: dict[str, TowerTraining] | None = None) -> Model:
    """A model of three tiny towers with one objective, by a key of OBJECTIVE_EXAMPLES, and a teacher if it asks."""
    built = OBJECTIVES.build(OBJECTIVE_EXAMPLES[objective])
    teaches = teacher() if built.needs().teacher else None
    torch.manual_seed(seed)
    geometry = CURVED.get(objective, Sphere.Config())
    config = ModelConfig(dim=8, towers=TOWERS, momentum=0.5, geometry=geometry, training=training or {})
    return Model(config, {"main": built}, teacher=teaches)


def batch(rows: int = 12, *, seed: int = 0, present: float = 0.7) -> Batch:
    """A random batch with missing cells, with made columns beside the three modalities, and with labels."""
    generator = torch.Generator().manual_seed(seed)
    values = {
        "image": torch.randint(0, 256, (rows, 3, 16, 16), generator=generator, dtype=torch.uint8),
        "audio": 0.1 * torch.randn(rows, 2000, generator=generator),
        "text": torch.randint(1, 2**31 - 1, (rows, 6), generator=generator),
    }
    columns = {}
    for name, value in values.items():
        here = torch.rand(rows, generator=generator) < present
        columns[name] = Column.of(name, value, here)
    labels = {"group": torch.randint(-1, 4, (rows,), generator=generator)}
    for name in DERIVED:
        modality = name.partition(".")[0]
        if modality == "image":
            value = torch.randint(0, 256, (rows, 3, 16, 16), generator=generator, dtype=torch.uint8)
        else:
            value = torch.randint(1, 2**31 - 1, (rows, 6), generator=generator)
        here = columns[modality].present & (torch.rand(rows, generator=generator) < 0.5 + present / 2)
        columns[name] = Column.of(modality, value, here)
    labels["relevance"] = 3 * torch.rand(rows, generator=generator)
    labels["score1"], labels["score2"] = torch.rand(2, rows, generator=generator)
    labels["nouns"] = torch.randint(-1, 7, (rows, 3), generator=generator)
    columns |= _covered(columns, generator)
    left_top, size = (
        0.5 * torch.rand(rows, 2, generator=generator),
        0.3 + 0.2 * torch.rand(rows, 2, generator=generator),
    )
    labels["image.view2.box"] = torch.cat([left_top, size, torch.arange(rows)[:, None] % 2], dim=1)
    return Batch(columns, labels, [f"tiny/{row}" for row in range(rows)])


def _covered(columns: dict[str, Column], generator: torch.Generator) -> dict[str, Column]:
    """Captions with ids behind a mask, pictures with squares that are gray."""
    text, image = columns["text"], columns["image"]
    hidden = torch.rand(text.values.shape, generator=generator) < 0.4
    gray = torch.rand(len(image.values), 1, 4, 4, generator=generator) < 0.5
    gray = gray.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    return {
        "text.masked": Column("text", text.values.masked_fill(hidden, 7), text.present),
        "image.masked": Column("image", image.values.masked_fill(gray, 127), image.present),
    }


def engine(built: Model, **fields: Any) -> Any:
    """The local engine over a model."""
    return ENGINES.build(Local.Config(device="cpu", **fields), model=built, optimizer=AdamW(AdamW.Config(lr=1e-2)))


def gradients(built: Model) -> dict[str, torch.Tensor]:
    """Gradients by parameter name; zeros where none arrived."""
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in built.named_parameters()
    }


def by_part(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All numbers of a tower, a head or an objective side by side."""
    parts: dict[str, list[torch.Tensor]] = {}
    for name in sorted(values):
        parts.setdefault(".".join(name.split(".")[:2]), []).append(values[name].float().flatten())
    return {part: torch.cat(tensors) for part, tensors in parts.items()}
