"""Who is where?  Two labelled pictures side by side, one above the other, or one bigger than the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, ClassVar

from annotated_types import Len

from mmcontrast.config import Count, config
from mmcontrast.evaluate.recipes import Scene, ScenePart
from mmcontrast.language.layout import LAYOUTS, RELATIONS, Layout, Relation, pixels, say
from mmcontrast.probe_file import ProbeItem
from mmcontrast.probes import MAKERS
from mmcontrast.probes.labelled import LabelledConfig, LabelledMaker, Thing


@MAKERS.register("scene")
class Scenes(LabelledMaker):
    """Two scenes of the same two things, exchanged, and their two captions.

    ``side``: left of, right of; ``height``: above, below; ``size``: big and small.  Captions name the two things in
    either order, so that the first named is not always on the left.

    Source: the pairs of Thrush et al. 2022, Winoground, arXiv:2204.03162; layouts after Kamath et al. 2023, What's up,
    arXiv:2310.19785.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image",)

    @config
    class Config(LabelledConfig):
        """Fields of the maker."""

        relations: Annotated[tuple[Relation, ...], Len(1)] = RELATIONS
        pixels: Count = 224  # side of a scene

    def items(self) -> Iterator[ProbeItem]:
        """Pairs for every relation."""
        for relation in self.config.relations:
            for number, (first, second) in enumerate(self.pairs(relation)):
                layouts = LAYOUTS[relation]
                layout = layouts[number % len(layouts)]
                template = layout.templates[number // len(layouts) % len(layout.templates)]
                yield ProbeItem(
                    id=f"{relation} {number:05d}",
                    category=relation,
                    contexts=[{"scene": self._scene(layout, *two)} for two in ((first, second), (second, first))],
                    texts=[
                        say(template, one.name, other.name, articles=self.config.articles)
                        for one, other in ((first, second), (second, first))
                    ],
                    right=[[0], [1]],
                    cluster=" ".join(sorted((first.key, second.key))),
                    fields={"template": template},
                )
        self.counts["names"] = len(self.things)

    def _scene(self, layout: Layout, first: Thing, second: Thing) -> dict[str, object]:
        side = self.config.pixels
        parts = [
            ScenePart(row=first.key, box=pixels(layout.first, side)),
            ScenePart(row=second.key, box=pixels(layout.second, side)),
        ]
        return asdict(Scene(size=(side, side), parts=parts))
