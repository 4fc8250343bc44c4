"""Two clips after each other, "a violin then a flute": sequences without end from clips of single things."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np

from mmcontrast.config import Fraction, config
from mmcontrast.data.shards import resolve
from mmcontrast.errors import ConfigError

FADE_SAMPLES = 160


@config
class Splice:
    """Joins a row's clip with another row's, drawn at random, each cut to half of the window.

    With ``second_field``, clips hold two things already: the first half of one meets the second half of another.
    Rows that lack ``field``, two rows of the same value and excluded pairs are left as they are.
    """

    probability: Fraction  # how often a row is joined
    field: str  # JSON field that names what is heard, in the first half where there are two
    second_field: str | None = None  # JSON field that names what is heard in the second half of a clip of two
    template: str = "{first} then {second}"
    articles: bool = True  # put "a" or "an" before the names
    exclude: str | None = None  # JSON file with a list of unordered pairs that are never joined; package:NAME works

    def parts(self, info: dict[str, Any]) -> tuple[str, str] | None:
        """What a row is called as the first and as the second part; nothing where it lacks a field."""
        names = info.get(self.field), info.get(self.second_field or self.field)
        return None if None in names else (str(names[0]), str(names[1]))

    def caption(self, first: str, second: str) -> str:
        """Caption of two clips in order."""
        if self.articles:
            first, second = with_article(first), with_article(second)
        return self.template.format(first=first, second=second)


def with_article(noun: str) -> str:
    """Put the indefinite article before a noun."""
    return f"an {noun}" if noun[:1] in "aeiou" else f"a {noun}"


def joined_wave(first: np.ndarray, second: np.ndarray, *, samples: int, second_half: bool = False) -> np.ndarray:
    """Return half a window of two waveforms, faded at the ends, one after the other.

    Args:
        second_half: take the second one from the middle of its window on, not from its start.
    """
    half = samples // 2
    second = second[half:] if second_half else second
    parts = []
    for wave, length in ((first, half), (second, samples - half)):
        part = np.zeros(length, dtype=np.float32)
        kept = min(length, len(wave))
        part[:kept] = wave[:kept]
        fade = min(FADE_SAMPLES, length)
        part[length - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
        parts.append(part)
    return np.concatenate(parts)


@lru_cache(maxsize=8)
def read_excluded(location: str | None) -> frozenset[frozenset[str]]:
    """Read the pairs that are never joined.

    Raises:
        ConfigError: no such file, or not a list of pairs of names.
    """
    if location is None:
        return frozenset()
    path = resolve(location)
    if not path.is_file():
        raise ConfigError(f"no file of excluded pairs at '{path}'.")
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))
        return frozenset(frozenset((str(first), str(second))) for first, second in pairs)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"'{path}' is not a JSON list of pairs of names: {error}") from error
