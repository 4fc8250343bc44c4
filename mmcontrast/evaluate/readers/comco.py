"""ComCo and SimCo: scenes of several objects, one of them large, whose names are the files' names."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from mmcontrast.config import Count, config
from mmcontrast.errors import ConfigError, MissingData
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing

JOIN = " and "  # between the objects of a caption, as in the published code
FOLDS = 5  # of scenes, for probes


@READERS.register("comco")
class ComCo:
    """``SCENES/a_b_c_d.png`` and ``SINGLE/a.png``, whose names are those of all objects.

    An item asks whether a caption beats one with another object in a place.  Its category is the size of the object
    that was replaced: ``large`` (named first in both captions) or ``small`` (named last in the wrong caption, whose
    first is the large one), as the published code has it.  Which object the towers hold nearest (IOR, TOR) is
    the question of ``object_bias``.  For what a linear read-out finds of each place (IOC, TOC), scenes have the fields
    ``object_1``, ``object_2``, ..., ``caption`` and ``fold``: ``{type: linear_probe, where: {kind: scene}, ...}``.

    Source: Abbasi et al. 2025, arXiv:2502.19842; no licence is given.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of both folders
        scenes: str = "CoCo-FourObject-Middle-Big"  # folder of the scenes
        single: str = "CoCo-OneObject"  # folder of the single objects
        large: Count = 2  # place of the large object in the files' names, from 1
        wrong: Count = 8  # objects put in place of one, of those that the scene lacks; the paper takes all

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List scenes, single objects, and items over the scenes."""
        root = self.config.root
        folders = (self.config.scenes, self.config.single)
        scenes, single = (sorted(existing(root / name, what="ComCo").glob("*.png")) for name in folders)
        if not scenes or not single:
            raise MissingData(f"ComCo: expected .png files under '{root / self.config.scenes}' and its sibling.")
        names = [path.stem for path in single]
        entries = [
            Entry(f"single {name}", {"kind": "single", "object": name}, {"image": path})
            for name, path in zip(names, single, strict=True)
        ]
        queries = []
        for path in scenes:
            objects = path.stem.split("_")
            unknown = [each for each in objects if each not in names]
            if unknown or len(objects) < self.config.large:
                raise ConfigError(
                    f"'{path}': {unknown or objects}: expected at least {self.config.large} objects that are in "
                    f"'{self.config.single}'."
                )
            entries.append(Entry(path.stem, _scene(objects), {"image": path}))
            queries.extend(self._items(path.stem, objects, names))
        return Listed(self.config.scenes, entries, queries=queries)

    def _items(self, key: str, objects: list[str], names: list[str]) -> list[dict[str, Any]]:
        large = self.config.large - 1
        first, last = _exchanged(objects, large, 0), _exchanged(objects, large, len(objects) - 1)
        absent = sorted((name for name in names if name not in objects), key=lambda name: _digest(f"{key} {name}"))
        items = []
        for other in absent[: self.config.wrong]:
            for size, right, wrong in (("large", first, [other, *first[1:]]), ("small", last, [*first[:-1], other])):
                items.append(
                    {
                        "key": f"{key} {size} {other}",
                        "category": size,
                        "contexts": [key],
                        "texts": [JOIN.join(right), JOIN.join(wrong)],
                        "right": [[0]],
                        "cluster": key,
                    }
                )
        return items


def _scene(objects: list[str]) -> dict[str, Any]:
    """Fields of a scene.  Scenes of the same objects in another order are in one fold."""
    return {
        "kind": "scene",
        "objects": objects,
        **{f"object_{place}": name for place, name in enumerate(objects, 1)},
        "caption": JOIN.join(objects),
        "fold": str(_digest("_".join(sorted(objects)))[0] % FOLDS),
    }


def _exchanged(objects: list[str], a: int, b: int) -> list[str]:
    result = list(objects)
    result[a], result[b] = result[b], result[a]
    return result


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
