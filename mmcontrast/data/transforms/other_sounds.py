"""A random sound of another set: background noise, an impulse response."""

from __future__ import annotations

import numpy as np

from mmcontrast.data.decode import decode_audio
from mmcontrast.data.limits import Limits
from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.data.shards import ShardSet, open_shards
from mmcontrast.errors import ConfigError, ShardError, SkipSample

TRIES = 10  # rows, before a set counts as damaged


def draw_sound(
    location: str, rng: np.random.Generator, *, sample_rate_hz: int, limits: Limits | None = None
) -> np.ndarray:
    """Decode a row of a set, drawn at random, to mono float32 (samples,); damaged rows are passed over.

    Raises:
        ShardError: ten rows one after another do not decode.
    """
    shards = open_shards(location)
    extension = _sounds(shards, location).extension
    said = ""
    for _ in range(TRIES):
        try:
            raw = shards[int(rng.integers(0, len(shards)))]
            content = raw.members.get(extension, b"")
            return decode_audio(content, key=raw.key, sample_rate_hz=sample_rate_hz, limits=limits)
        except SkipSample as error:
            said = str(error)
    raise ShardError(f"{TRIES} rows of '{location}', drawn one after another, do not decode; the last: {said}")


def check_sounds(where: str, location: str | None) -> list[str]:
    """What is wrong with a set that sounds are drawn from, as messages."""
    if location is None:
        return []
    try:
        _sounds(open_shards(location), location)
    except (ShardError, ConfigError) as error:
        return [f"{where}: {error}"]
    return []


def _sounds(shards: ShardSet, location: str) -> ColumnSpec:
    """The set's first column of sounds."""
    columns = shards.manifest.columns
    found = next((columns[name] for name in sorted(columns) if columns[name].modality == "audio"), None)
    if found is not None:
        return found
    raise ConfigError(f"'{location}' has no column of sounds; it has: {', '.join(sorted(columns))}.")
