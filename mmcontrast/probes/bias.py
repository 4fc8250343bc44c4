"""Which thing counts most?  Scenes of several things, one of them big, with one thing of the caption made wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from mmcontrast.config import Count, config
from mmcontrast.evaluate.recipes import Scene, ScenePart
from mmcontrast.language.layout import pixels
from mmcontrast.probe_file import ProbeItem
from mmcontrast.probes import MAKERS
from mmcontrast.probes.labelled import LabelledConfig, LabelledMaker, Thing

ORDINALS = ("first", "second", "third", "fourth")
BIG, GAP = 2.0, 0.04  # how much larger than the others; between things, as a share of the picture


@MAKERS.register("bias")
class Bias(LabelledMaker):
    """The caption of a scene, or the same with one of its things replaced by one that is absent.

    Things stand in a row; places, sizes and the order of mention are drawn apart.  Every scene is asked three times:
    with the thing ``mentioned first`` (second, ...) made wrong, all of one size; and with the ``big`` thing or a
    ``small`` one made wrong.  A model without bias has one accuracy in all categories of a kind.

    Source: Abbasi et al. 2025, ComCo and SimCo, arXiv:2502.19842, object-order and object-size bias (their matching
    with biased positions), over any labelled pictures.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image",)

    @config
    class Config(LabelledConfig):
        """Fields of the maker."""

        things: Annotated[int, Ge(2), Le(4)] = 3  # in a scene
        pixels: Count = 224  # side of a scene

    def items(self) -> Iterator[ProbeItem]:
        """Ask about every scene."""
        count = self.config.things
        for number, drawn in enumerate(self.several(count + 1, "bias")):
            things, absent = drawn[:count], drawn[count]
            rng = self.rng("places", number)
            places = rng.permutation(count).tolist()  # where each mentioned thing stands
            big = int(rng.integers(count))
            small = next(place for place in rng.permutation(count).tolist() if place != big)
            for wrong in range(count):
                name = f"mentioned {ORDINALS[wrong]}"
                yield self._item(name, number, things, absent, wrong, places, big=None)
            yield self._item("size, big", number, things, absent, big, places, big=big)
            yield self._item("size, small", number, things, absent, small, places, big=big)
        self.counts["names"] = len(self.things)

    def _item(
        self,
        category: str,
        number: int,
        things: Sequence[Thing],
        absent: Thing,
        wrong: int,
        places: Sequence[int],
        *,
        big: int | None,
    ) -> ProbeItem:
        other = [*things[:wrong], absent, *things[wrong + 1 :]]
        return ProbeItem(
            id=f"{category} {number:05d}",
            category=category,
            contexts=[{"scene": self._scene(things, places, big)}],
            texts=[_listed([thing.said for thing in each]) for each in (things, other)],
            right=[[0]],
            cluster=f"{number:05d}",
            fields={"place": places[wrong], "things": len(things)},
        )

    def _scene(self, things: Sequence[Thing], places: Sequence[int], big: int | None) -> dict[str, object]:
        side, sizes = self.config.pixels, [BIG if place == big else 1.0 for place in range(len(things))]
        unit = (1 - GAP * (len(things) + 1)) / sum(sizes)
        boxes: dict[int, tuple[int, int, int, int]] = {}
        left = GAP
        for place in sorted(range(len(things)), key=lambda thing: places[thing]):
            share = unit * sizes[place]
            top = (1 - share) / 2
            boxes[place] = pixels((left, top, share, share), side)
            left += share + GAP
        parts = [ScenePart(row=thing.key, box=boxes[place]) for place, thing in enumerate(things)]
        return asdict(Scene(size=(side, side), parts=parts))


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
