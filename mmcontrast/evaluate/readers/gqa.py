"""Contrast sets from GQA's scene graphs: two objects with their relation or their attributes exchanged."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from mmcontrast.config import Count, config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_json
from mmcontrast.evaluate.readers.choices import Asking, cropped

Box = tuple[int, int, int, int]  # left, top, width, height


@READERS.register("gqa")
class GQA:
    """``val_sceneGraphs.json`` and ``images/ID.jpg``: "the dog is on the sofa" against "the sofa is on the dog".

    Of each picture, relations between two objects and attributes of two objects, both of names that occur once in it;
    pictures are cut to the box of both.  Which ones are taken depends on the seed and the picture alone.  Categories
    are ``relation NAME`` and ``attribute``; relations that hold both ways are left out of macro means by
    ``exclude: gqa_symmetric``.

    Source: the form is that of Yuksekgonul et al. 2023, arXiv:2210.01936, appendix A; scene graphs of Hudson and
    Manning 2019, arXiv:1902.09506, CC BY 4.0.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of the json
        split: str = "val"  # train or val
        images: str = "images"  # folder of the pictures below root
        per_picture: Count = 1  # items of each kind taken from one picture
        smallest: Count = 50  # pixels of the shorter side of the cut-out; smaller ones are left out
        seed: int = 0  # of the choice

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the items."""
        path = existing(self.config.root / f"{self.config.split}_sceneGraphs.json", what="GQA's scene graphs")
        asking = Asking(f"GQA {self.config.split}", modality="image", licence="scene graphs CC BY 4.0")
        for picture, graph in read_json(path, dict).items():
            try:
                found = [*self._taken(picture, _relations(graph)), *self._taken(picture, _attributes(graph))]
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise ConfigError(f"'{path}' picture {picture}: {type(error).__name__} {error}.") from error
            for category, texts, box in found:
                key = f"{picture} {' '.join(map(str, box))}"
                place = inside(self.config.root / self.config.images, f"{picture}.jpg")
                context = asking.made(
                    key, cropped(place, box, key=key), extension="png", info={"picture": picture, "box": list(box)}
                )
                asking.ask(
                    f"{picture} {texts[0]}", category=category, contexts=[context], texts=list(texts),
                    right=[[0]], cluster=picture,
                )  # fmt: skip
        return asking.listed()

    def _taken(self, picture: str, found: Iterator[Any]) -> list[Any]:
        fitting = {item[1][0]: item for item in found if min(item[2][2:]) >= self.config.smallest}
        ranked = sorted(fitting, key=lambda text: _digest(f"{self.config.seed} {picture} {text}"))
        return [fitting[text] for text in ranked[: self.config.per_picture]]


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _named_once(graph: dict[str, Any]) -> dict[str, dict[str, Any]]:
    counts = Counter(each["name"] for each in graph["objects"].values())
    return {number: each for number, each in graph["objects"].items() if counts[each["name"]] == 1}


def _relations(graph: dict[str, Any]) -> Iterator[tuple[str, tuple[str, str], Box]]:
    objects = _named_once(graph)
    for each in objects.values():
        for relation in each.get("relations", []):
            other = objects.get(relation["object"])
            if other is not None and other["name"] != each["name"]:
                a, b, how = each["name"], other["name"], relation["name"]
                texts = (f"the {a} is {how} the {b}", f"the {b} is {how} the {a}")
                yield f"relation {how}", texts, _around(each, other)


def _attributes(graph: dict[str, Any]) -> Iterator[tuple[str, tuple[str, str], Box]]:
    for first, second in combinations(_named_once(graph).values(), 2):
        own = [sorted(set(each.get("attributes", []))) for each in (first, second)]
        mine, theirs = ([word for word in own[n] if word not in own[1 - n]] for n in (0, 1))
        if mine and theirs:
            a, b = first["name"], second["name"]
            texts = (
                f"the {mine[0]} {a} and the {theirs[0]} {b}",
                f"the {theirs[0]} {a} and the {mine[0]} {b}",
            )
            yield "attribute", texts, _around(first, second)


def _around(first: dict[str, Any], second: dict[str, Any]) -> Box:
    left, top = (min(int(each[side]) for each in (first, second)) for side in "xy")
    right = max(int(each["x"]) + int(each["w"]) for each in (first, second))
    bottom = max(int(each["y"]) + int(each["h"]) for each in (first, second))
    return (left, top, right - left, bottom - top)
