"""Plots of a comparison as SVG: a panel a measure with a line a candidate, and alignment beside uniformity."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

from mmcontrast.comparison.numbers import Number
from mmcontrast.evaluate.plots import nice_ticks

Numbers = dict[str, dict[str, Number]]  # candidate -> measure -> number

WIDTH, LINE, TOP, BOTTOM, RIGHT = 400, 24, 36, 26, 14
SAME, APART = "#2457a7", "#c2410c"
STYLE = """text { font-family: system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.plot-title { font-size: 13.5px; font-weight: 600; fill: #1a2230; } .tick { font-size: 11.5px; fill: #5a6675; }
.grid { stroke: #e2e7ed; }"""


def panel(measure: str, numbers: Numbers, *, judged: bool) -> str:
    """One measure: each candidate's seeds as marks, its mean as a dot and the 95% interval as a bar.

    The band is the first candidate's interval.

    Args:
        judged: candidates whose difference from the first leaves out zero have another colour.
    """
    candidates = [name for name in numbers if measure in numbers[name]]
    shown = {name: numbers[name][measure] for name in candidates}
    left = 14 + 6.4 * max(map(len, candidates))
    height = TOP + LINE * len(candidates) + BOTTOM
    low, high = _range(shown.values())

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (WIDTH - left - RIGHT)

    bottom, first = height - BOTTOM, shown[candidates[0]]
    parts = [f'<text x="0" y="16" class="plot-title">{html.escape(measure)}</text>']
    for begin, end in _ends(first):
        size = f'width="{x(end) - x(begin):.1f}" height="{bottom - TOP + 6}"'
        parts.append(f'<rect x="{x(begin):.1f}" y="{TOP - 6}" {size} fill="#eef2f8"/>')
    for tick in nice_ticks(low, high, 4):
        parts.append(_line(x(tick), TOP - 6, x(tick), bottom, 'class="grid"'))
        parts.append(_tick(x(tick), height - 9, f"{tick:g}", "middle"))
    for place, name in enumerate(candidates):
        number, y = shown[name], TOP + LINE * (place + 0.4)
        color = APART if judged and apart(number, first) else SAME
        parts.append(_tick(left - 10, y + 4, name, "end"))
        seed = f'stroke="{color}" stroke-opacity="0.45" stroke-width="1.4"'
        parts += [_line(x(value), y - 6, x(value), y + 6, seed) for value in number.values]
        wide = f'stroke="{color}" stroke-width="2.2"'
        parts += [_line(x(begin), y, x(end), y, wide) for begin, end in _ends(number)]
        parts.append(f'<circle cx="{x(number.mean):.1f}" cy="{y:.1f}" r="4" fill="{color}"/>')
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg>'


def apart(number: Number, first: Number) -> bool:
    """Whether the difference seed by seed has a 95% interval without zero."""
    difference = number.minus(first)
    return difference is not None and difference.is_apart_from_zero


def _range(numbers: Iterable[Number]) -> tuple[float, float]:
    """From the lowest to the highest of values and intervals, and a little more."""
    ends = [end for each in numbers for end in (*each.values, *(end for pair in _ends(each) for end in pair))]
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or abs(high) or 1.0
    return low - margin, high + margin


def _ends(number: Number) -> list[tuple[float, float]]:
    """The interval; none with one seed."""
    return [] if number.half is None else [(number.mean - number.half, number.mean + number.half)]


def alignment_and_uniformity(numbers: Numbers) -> str:
    """Each candidate's alignment of pairs beside the uniformity of what is paired, with intervals; "" without them.

    Source: Wang and Isola 2020, arXiv:2005.10242, figure 7: lower is better along both axes.
    """
    points = {name: point for name, each in numbers.items() if (point := _point(each)) is not None}
    if len(points) < 2:
        return ""
    size, left, bottom = WIDTH, 52, WIDTH - 40
    x_low, x_high = _range(point[0] for point in points.values())
    y_low, y_high = _range(point[1] for point in points.values())

    def x(value: float) -> float:
        return left + (value - x_low) / (x_high - x_low) * (size - left - RIGHT)

    def y(value: float) -> float:
        return bottom - (value - y_low) / (y_high - y_low) * (bottom - TOP)

    middle = (left + size - RIGHT) / 2
    parts = ['<text x="0" y="16" class="plot-title">Alignment and uniformity: both low is best</text>']
    for tick in nice_ticks(x_low, x_high, 4):
        parts.append(_line(x(tick), TOP, x(tick), bottom, 'class="grid"'))
        parts.append(_tick(x(tick), bottom + 17, f"{tick:g}", "middle"))
    for tick in nice_ticks(y_low, y_high, 4):
        parts.append(_line(left, y(tick), size - RIGHT, y(tick), 'class="grid"'))
        parts.append(_tick(left - 6, y(tick) + 4, f"{tick:g}", "end"))
    parts.append(_tick(middle, size - 6, "uniformity, mean over modalities", "middle"))
    turned = f'<g transform="translate(11,{size / 2:.0f}) rotate(-90)">'
    parts.append(f"{turned}{_tick(0, 0, 'alignment of pairs', 'middle')}</g>")
    taken: dict[str, float] = {"start": -math.inf, "end": -math.inf}  # how far down names reach on either side
    for name, (across, up) in sorted(points.items(), key=lambda point: -point[1][1].mean):
        at, height, thin = x(across.mean), y(up.mean), f'stroke="{SAME}" stroke-opacity="0.5"'
        parts += [_line(x(begin), height, x(end), height, thin) for begin, end in _ends(across)]
        parts += [_line(at, y(begin), at, y(end), thin) for begin, end in _ends(up)]
        parts.append(f'<circle cx="{at:.1f}" cy="{height:.1f}" r="4" fill="{SAME}"/>')
        anchor, move = ("end", -9) if at > middle else ("start", 9)
        taken[anchor] = max(height - 7, taken[anchor] + 14)
        parts.append(_tick(at + move, taken[anchor], name, anchor))
    return f'<svg viewBox="0 0 {size} {size}" role="img">{"".join(parts)}</svg>'


def _line(x1: float, y1: float, x2: float, y2: float, looks: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {looks}/>'


def _tick(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="tick" text-anchor="{anchor}">{html.escape(text)}</text>'


def _point(measures: dict[str, Number]) -> tuple[Number, Number] | None:
    """Mean uniformity over modalities and mean alignment over pairs, seed by seed."""
    found = []
    for word in ("uniformity ", "alignment "):
        lists = [each.values for name, each in measures.items() if name.rpartition(": ")[2].startswith(word)]
        if not lists:
            return None
        found.append(Number([sum(values) / len(values) for values in zip(*lists, strict=True)]))
    return found[0], found[1]


def figure(panels: Sequence[str], *, columns: int = 3) -> str:
    """Panels side by side as one file that needs no stylesheet of a page."""
    heights = [float(each.split('viewBox="0 0 ', 1)[1].split('"', 1)[0].split()[1]) for each in panels]
    rows = [heights[start : start + columns] for start in range(0, len(panels), columns)]
    parts, top = [], 12.0
    for row, of_row in enumerate(rows):
        for column, height in enumerate(of_row):
            place = f'<svg x="{12 + column * (WIDTH + 24)}" y="{top:.0f}" width="{WIDTH}" height="{height:.0f}" '
            parts.append(place + panels[row * columns + column].removeprefix("<svg "))
        top += max(of_row) + 16
    box = f'viewBox="0 0 {columns * (WIDTH + 24)} {math.ceil(top)}"'
    page = f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img"><style>{STYLE}</style>'
    return f'{page}<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
