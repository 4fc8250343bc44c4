"""The last step of every export: the same pictures, sounds and captions through the target, and how far it is off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast.errors import ExportError
from mmcontrast.evaluate.encoder import TowerEncoder
from mmcontrast.export.base import ExportFormat, Read, format_name
from mmcontrast.export.part import Part
from mmcontrast.exported.dtypes import Dtype
from mmcontrast.specs import AudioSpec, ImageSpec, InputSpec

CAPTIONS = (
    "a",
    "a photo of a small dog on a beach",
    "Rain, then a slamming door: 3 knocks!",
    "",
    "häuser und bäume, 東京 at night",
    "the quick brown fox jumps over the lazy dog while a brass band plays a slow march in the rain and nobody listens",
)


@dataclass(frozen=True)
class Parity:
    """How far the target's embeddings are from ours."""

    modality: str
    what: str  # which inputs
    largest: float  # difference of a coordinate; on the sphere, of unit vectors
    cosine_loss: float  # 1 - cosine of the worst row
    limit: float | None  # of ``largest``; None: told, not judged

    def line(self) -> str:
        """For people."""
        judged = "" if self.limit is None else f"  (limit {self.limit:.0e})"
        return (
            f"{self.modality:<6} {self.what:<30} largest difference {self.largest:.1e}, "
            f"cosine loss {self.cosine_loss:.1e}{judged}"
        )


def pictures(*sizes: tuple[int, int]) -> list[Image.Image]:
    """Smooth and noisy pictures of given widths and heights."""
    made = []
    for seed, (width, height) in enumerate(sizes):
        rng = np.random.default_rng(seed)
        across, down = np.meshgrid(np.linspace(0, 3, width), np.linspace(0, 2, height))
        waves = [np.sin(across * (seed + 1 + channel) + down * channel) for channel in range(3)]
        pixels = 127 + 90 * np.stack(waves, axis=-1) + rng.normal(0, 12, (height, width, 3))
        made.append(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))
    return made


def sounds(spec: AudioSpec) -> list[np.ndarray]:
    """Chirps with noise: a whole window, a short one, a long one."""
    made = []
    for seed, share in enumerate((1.0, 0.37, 1.6)):
        time = np.arange(max(1, round(share * spec.samples))) / spec.sample_rate_hz
        rng = np.random.default_rng(seed)
        wave = 0.4 * np.sin(2 * np.pi * (200 + 300 * seed + 400 * time) * time) + 0.02 * rng.standard_normal(len(time))
        made.append(wave.astype(np.float32))
    return made


@dataclass(frozen=True)
class Case:
    """Inputs that are reported together."""

    what: str
    items: list[Any]
    kind: Literal["any", "square", "own_size"] = "own_size"  # of pictures


JUDGED = {"own_size": ("own_size",), "square": ("own_size", "square"), "any": ("own_size", "square", "any")}


def cases(spec: InputSpec, read: Read) -> list[Case]:
    """Inputs of a modality."""
    if isinstance(spec, ImageSpec):
        size = spec.size
        # No tall one is made smaller: from version 13 on, Pillow may resize those down first, with other roundings.
        others = [(size * 2 + 5, size + 2), (size // 2 + 1, size), (size * 3, size + 7)]
        return [
            Case("pictures of the tower's size", list(pictures((size, size)))),
            Case("square pictures", list(pictures((size * 2 + 3,) * 2, (size // 2 + 1,) * 2)), "square"),
            Case("pictures that are not square", list(pictures(*others)), "any"),
        ]
    if isinstance(spec, AudioSpec):
        return [Case("sounds of several lengths", list(sounds(spec)))]
    return [Case("captions of several lengths", [text for text in CAPTIONS if text or read.empty_captions])]


def compare(reference: Part, read: Read, *, limit: float) -> list[Parity]:
    """Embed every case with ours and with the target, one by one and in one batch; the worse of the two counts."""
    encoder = TowerEncoder(reference.model)
    found = []
    for modality in reference.modalities:
        for case in cases(reference.spec(modality), read):
            items = case.items
            ours = encoder.encode(modality, items).float()
            theirs = [_embedded(read, modality, [item])[0] for item in items]
            whole = _embedded(read, modality, items)
            if (
                reference.config.geometry.registry_name == "sphere"
            ):  # targets that compare by cosine need not scale to length 1
                ours, whole, *theirs = (normalize(each, dim=-1) for each in (ours, whole, *theirs))
            off = [_difference(ours, torch.stack(theirs)), _difference(ours, whole)]
            judged = case.kind in JUDGED[read.exact_for]
            found.append(
                Parity(modality, case.what, max(a for a, _ in off), max(b for _, b in off), limit if judged else None)
            )
    return found


def check(export_format: ExportFormat, reference: Part, read: Read, *, dtype: Dtype = "fp32") -> list[Parity]:
    """Compare, and refuse what is further off than the format allows.

    Raises:
        ExportError: it is; holds every line.
    """
    found = compare(reference, read, limit=export_format.limit(dtype))
    # NaN is no number that is below a limit.
    if any(each.limit is not None and not each.largest <= each.limit for each in found):
        lines = "\n".join(f"  {each.line()}" for each in found)
        raise ExportError(
            f"{format_name(export_format)} computes something else than the model; nothing was written:\n{lines}"
        )
    return found


def _embedded(read: Read, modality: str, items: Sequence[Any]) -> Float[Tensor, "N D"]:
    with torch.inference_mode():
        return read.encode[modality](items).detach().cpu().float()


def _difference(ours: Float[Tensor, "N D"], theirs: Float[Tensor, "N D"]) -> tuple[float, float]:
    if ours.shape != theirs.shape:
        raise ExportError(f"the target gives {tuple(theirs.shape)} instead of {tuple(ours.shape)}.")
    cosine = (ours.double() * theirs.double()).sum(dim=-1)
    norms = ours.double().norm(dim=-1) * theirs.double().norm(dim=-1)
    return float((ours - theirs).abs().max()), float((1 - cosine / norms).max())
