"""Two pictures in one, with a caption of where they are or how big: scenes without end from single things."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Len
from PIL import Image

from mmcontrast.config import Count, Fraction, config
from mmcontrast.data.transforms.captions import Captions
from mmcontrast.data.transforms.composed import Composed
from mmcontrast.language.layout import LAYOUTS, RELATIONS, Layout, Relation, pixels, say


@config
class SceneConfig:
    """Joins a row's picture with another row's, drawn at random, on white.

    Rows that lack ``field``, and two rows of the same value, are left as they are.

    ``derive: {image.X: {type: other_order, of: image}}`` gives the same pictures exchanged, and with ``of: text`` the
    caption of that: hard negatives of one another.
    """

    probability: Fraction  # how often a row is joined
    field: str  # JSON field that names what is seen
    relations: Annotated[tuple[Relation, ...], Len(1)] = RELATIONS  # side, height, size: one is drawn each time
    pixels: Count = 128  # side of a scene before the source's own crop
    most_words: Count = 4  # of a name; rows of longer ones are left as they are
    articles: bool = True  # put "a" or "an" before names that have neither

    def name(self, info: dict[str, Any]) -> str | None:
        """What a row is called in a scene; None where it is in none."""
        found = info.get(self.field)
        return found if isinstance(found, str) and 0 < len(found.split()) <= self.most_words else None


def scene(
    config: SceneConfig, names: tuple[str, str], pictures: Sequence[Image.Image], rng: np.random.Generator
) -> Composed:
    """Put two pictures together by a relation that is drawn, with a caption; and the same exchanged.

    Source: after Kamath et al. 2023, What's up with vision-language models, arXiv:2310.19785, which finds that such
    captions are too few in web data to be learnt.
    """
    relation = config.relations[int(rng.integers(len(config.relations)))]
    layouts = LAYOUTS[relation]
    layout = layouts[int(rng.integers(len(layouts)))]
    template = layout.templates[int(rng.integers(len(layout.templates)))]
    first, second = pictures
    return Composed(
        {"image": _painted(layout, first, second, config.pixels), "text": _said(config, template, *names)},
        {"image": _painted(layout, second, first, config.pixels), "text": _said(config, template, *names[::-1])},
        say(layout.templates[0], *names),
    )


def _said(config: SceneConfig, template: str, first: str, second: str) -> Captions:
    return Captions([say(template, first, second, articles=config.articles)])


def _painted(layout: Layout, first: Image.Image, second: Image.Image, side: int) -> Image.Image:
    canvas = Image.new("RGB", (side, side), (255, 255, 255))
    for picture, box in ((first, layout.first), (second, layout.second)):
        left, top, width, height = pixels(box, side)
        canvas.paste(picture.resize((width, height), Image.Resampling.BICUBIC), (left, top))
    return canvas
