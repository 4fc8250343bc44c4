"""Two rows heard at once, "a dog barks and rain falls": their sounds added, their captions joined."""

from __future__ import annotations

import numpy as np

from mmcontrast.config import Fraction, config
from mmcontrast.data.transforms.background import check_range, level_for
from mmcontrast.data.transforms.captions import Captions


@config
class Mix:
    """Adds another row of the same source, drawn at random, to a row, and joins a caption of each.

    Rows that have a picture, no sound or no caption of their own, and two rows of one group, are left as they are.
    Labels stay those of the row.
    Source: Kreuk et al. 2022, AudioGen, arXiv:2209.15352, section 3.3, whose captions are set side by side; mixup
    without labels' weights, after Zhang et al. 2017, arXiv:1710.09412.
    """

    probability: Fraction  # how often a row gets another one
    snr_db: tuple[float, float] = (-5.0, 5.0)  # lowest and highest mean power of the row's sound over the other's
    delay: Fraction = 0.5  # the other begins at most this share of the window later
    template: str = "{first} and {second}"  # how their captions are joined; the row's own may also come second

    def __post_init__(self) -> None:
        check_range("snr_db", self.snr_db)
        if "{first}" not in self.template or "{second}" not in self.template:
            raise ValueError("template should hold {first} and {second}.")

    def caption(self, first: Captions, second: Captions, *, rng: np.random.Generator) -> str:
        """One caption of each, in random order, without their full stops."""
        pair = [captions.texts[int(rng.integers(0, len(captions.texts)))].rstrip(". ") for captions in (first, second)]
        if rng.random() < 0.5:
            pair.reverse()
        return self.template.format(first=pair[0], second=pair[1])


def mixed_wave(
    first: np.ndarray, second: np.ndarray, config: Mix, *, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """A random window of each, the second one later and at a random ratio: float32 (samples,), within full scale."""
    ratio_db, delay = rng.uniform(*config.snr_db), int(rng.uniform(0, config.delay) * samples)
    first, second = (_window(wave, samples=samples, rng=rng) for wave in (first, second))
    later = np.concatenate([np.zeros(delay, np.float32), second])[:samples]
    both = np.zeros(samples)
    both[: len(first)] += first
    both[: len(later)] += level_for(first, second, ratio_db=ratio_db) * later
    loudest = float(np.max(np.abs(both), initial=0.0))
    return (both / max(1.0, loudest)).astype(np.float32)


def _window(wave: np.ndarray, *, samples: int, rng: np.random.Generator) -> np.ndarray:
    start = int(rng.integers(0, max(1, len(wave) - samples + 1)))
    return wave[start : start + samples]
