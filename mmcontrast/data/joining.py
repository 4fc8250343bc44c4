"""Rows put together: sounds after each other or at once, pictures in a scene, with a caption of both.

A row that may not or cannot be joined stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from mmcontrast.data.decoded import Decoded
from mmcontrast.data.order import stable_hash
from mmcontrast.data.transforms.captions import Captions
from mmcontrast.data.transforms.composed import Composed
from mmcontrast.data.transforms.mix import Mix, mixed_wave
from mmcontrast.data.transforms.scene import SceneConfig, scene
from mmcontrast.data.transforms.splice import Splice, spliced
from mmcontrast.specs import AudioSpec, ImageSpec, InputSpec


def spliced_row(
    rows: Sequence[Decoded],
    splice: Splice,
    specs: Mapping[str, InputSpec],
    rng: np.random.Generator,
    *,
    excluded: frozenset[frozenset[str]],
) -> Decoded:
    """Put the clips of two or three rows together; the first row alone where they may not or cannot be joined."""
    names, spec = _names(rows), specs.get("audio")
    if (
        not names
        or not isinstance(spec, AudioSpec)
        or any(frozenset(two) in excluded for two in combinations(names, 2))
    ):
        return rows[0]
    waves = [row.cells["audio"] for row in rows]
    return _with(rows[0], spliced(splice, names, waves, samples=spec.samples, rng=rng))


def scene_row(
    rows: Sequence[Decoded], scenes: SceneConfig, specs: Mapping[str, InputSpec], rng: np.random.Generator
) -> Decoded:
    """Put the pictures of two rows in one; the first row alone where they cannot be joined."""
    names = _names(rows)
    if not names or not isinstance(specs.get("image"), ImageSpec):
        return rows[0]
    return _with(rows[0], scene(scenes, (names[0], names[1]), [row.cells["image"] for row in rows], rng))


def mixed_row(
    first: Decoded, second: Decoded, mix: Mix, specs: Mapping[str, InputSpec], rng: np.random.Generator
) -> Decoded:
    """Put the second row's clip under the first one's; the first alone where the two may not or cannot be mixed."""
    spec = specs.get("audio")
    if not isinstance(spec, AudioSpec) or any(set(each.cells) != {"audio", "text"} for each in (first, second)):
        return first
    captions = first.cells["text"], second.cells["text"]
    if first.key == second.key or first.group == second.group != -1 or not all(each.texts for each in captions):
        return first
    caption = mix.caption(*captions, rng=rng)
    wave = mixed_wave(first.cells["audio"], second.cells["audio"], mix, samples=spec.samples, rng=rng)
    return _with(first, Composed({"audio": wave, "text": Captions([caption])}, {}, caption))


def _names(rows: Sequence[Decoded]) -> list[str]:
    """What each row is called in its place; empty where one has no name, or two have the same."""
    names = [row.parts[min(place, 1)] for place, row in enumerate(rows) if row.parts is not None]
    return names if len(names) == len(rows) == len(set(names)) else []


def _with(row: Decoded, composed: Composed) -> Decoded:
    return replace(
        row,
        cells=row.cells | composed.cells,
        group=stable_hash("group", composed.meaning),
        parts=None,
        other=composed.other,
    )
