"""Feature fusion's input: four spectrograms of a sound that may be far longer than the tower's window.

A column of a tower whose ``input_spec()`` is ``AudioSpec(..., fusion=Fusion(mel=...))`` has no waveforms but a dict of

- ``"mels"``: float32 (B, 4, M, frames), what the front end gives (decibels after its affine map), with frames =
  ``mel.frames(spec.samples)``.  ``mels[:, 0]`` is the whole sound, shrunk in time to that many frames; ``mels[:, 1]``,
  ``[:, 2]`` and ``[:, 3]`` are stretches of that many frames out of its first, middle and last third.
- ``"longer"``: bool (B,), False where the sound is at most a window long: then all four are its spectrogram.

LAION-CLAP and transformers hold the same as (B, 4, frames, M), beside ``longer`` / ``is_longer`` of shape (B, 1).

Letters: M mel bands, T frames of the whole sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from mmcontrast.config import config
from mmcontrast.front_ends import FRONT_ENDS, AnyFrontEnd
from mmcontrast.front_ends.base import FrontEnd
from mmcontrast.front_ends.presets import LaionFusion

PARTS = 3  # stretches beside the whole


@config
class Fusion:
    """How the four spectrograms are made.

    Source: Wu et al. 2022, arXiv:2211.06687, section 2.3.
    """

    mel: AnyFrontEnd = LaionFusion.Config()
    antialias: bool = True  # in the shrinking: torchvision's default today; transformers and older torchvision do not


def four_mels(
    wave: np.ndarray, fusion: Fusion, *, samples: int, starts: Sequence[int] | None = None
) -> dict[str, Tensor]:
    """Spectrograms of a sound of at least a window, as one row of the column: mels (4, M, frames), longer ().

    Args:
        wave: mono float32 (samples or more,); a shorter sound is filled before.
        samples: of the tower's window.
        starts: first frame of each stretch, from :func:`stretches`; null: the middle of each third.
    """
    with torch.no_grad():
        mel = _built(fusion.mel)(torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))[None])[0]  # (M, T)
    frames = fusion.mel.frames(samples)
    if mel.shape[1] <= frames:  # at most a hop longer than the window: as if exactly the window
        return {"mels": mel[None].repeat(PARTS + 1, 1, 1), "longer": torch.tensor(False)}
    if starts is None:
        starts = [places[len(places) // 2] for places in stretches(mel.shape[1], frames)]
    parts = [shrunk(mel, frames, antialias=fusion.antialias)]
    parts += [mel[:, start : start + frames] for start in starts]
    return {"mels": torch.stack(parts), "longer": torch.tensor(True)}


def blank_mels(fusion: Fusion, *, rows: int, samples: int) -> dict[str, Tensor]:
    """Rows of zeros, as the column of a tower of ``samples`` has them."""
    mels = torch.zeros(rows, PARTS + 1, fusion.mel.mels, fusion.mel.frames(samples))
    return {"mels": mels, "longer": torch.zeros(rows, dtype=torch.bool)}


def stretches(total: int, frames: int) -> list[range]:
    """First frames that a stretch out of each third of ``total`` frames may have; a third without any has frame 0."""
    places = range(total - frames + 1)
    share, more = divmod(len(places), PARTS)
    found, first = [], 0
    for part in range(PARTS):
        after = first + share + (part < more)
        found.append(range(first, after) if after > first else range(1))
        first = after
    return found


def drawn_starts(samples: int, total_samples: int, fusion: Fusion, *, rng: np.random.Generator) -> list[int]:
    """A random first frame out of each third of a sound of ``total_samples``; frame 0 where it fits the window."""
    frames, total = fusion.mel.frames(samples), fusion.mel.frames(total_samples)
    if total <= frames:
        return [0] * PARTS
    return [int(rng.integers(places.start, places.stop)) for places in stretches(total, frames)]


def shrunk(mel: Float[Tensor, "M T"], frames: int, *, antialias: bool) -> Float[Tensor, "M frames"]:
    """The whole sound in ``frames`` frames, linearly interpolated."""
    size = (frames, mel.shape[0])
    picture = mel.T[None, None]
    return interpolate(picture, size=size, mode="bilinear", align_corners=False, antialias=antialias)[0, 0].T


@lru_cache(maxsize=4)
def _built(mel: Any) -> FrontEnd:
    return FRONT_ENDS.build(mel)
