"""What captions say of where things are and how big: for scenes whose layout is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mmcontrast.language.words import articled

Box = tuple[float, float, float, float]  # left, top, width, height, as shares of a square picture
Relation = Literal["side", "height", "size"]
HALF, SMALL, BIG = 0.46, 0.26, 0.66


@dataclass(frozen=True)
class Layout:
    """Where two things are, and the captions that say so."""

    first: Box
    second: Box
    templates: tuple[str, ...]  # with {first} and {second}; all say the same of the same picture


LAYOUTS: dict[Relation, tuple[Layout, ...]] = {
    "side": (
        Layout(
            (0.02, 0.27, HALF, HALF),
            (0.52, 0.27, HALF, HALF),
            ("{first} left of {second}", "{second} right of {first}"),
        ),
    ),
    "height": (
        Layout(
            (0.27, 0.02, HALF, HALF),
            (0.27, 0.52, HALF, HALF),
            ("{first} above {second}", "{second} below {first}"),
        ),
    ),
    # Which one is left says nothing of the size: both places are drawn.
    "size": (
        Layout((0.02, 0.17, BIG, BIG), (0.71, 0.37, SMALL, SMALL), ("{big_first} and {small_second}",)),
        Layout((0.32, 0.17, BIG, BIG), (0.03, 0.37, SMALL, SMALL), ("{big_first} and {small_second}",)),
    ),
}
RELATIONS: tuple[Relation, ...] = tuple(LAYOUTS)


def say(template: str, first: str, second: str, *, articles: bool = True) -> str:
    """The caption of two things, given by their names without articles."""
    said = articled if articles else str
    return template.format(
        first=said(first), second=said(second), big_first=said(f"big {first}"), small_second=said(f"small {second}")
    )


def pixels(box: Box, side: int) -> tuple[int, int, int, int]:
    """Left, top, width and height in a picture of ``side`` x ``side`` pixels."""
    left, top, width, height = (round(share * side) for share in box)
    return left, top, width, height
