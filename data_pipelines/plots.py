"""Histograms as SVG, small enough to stand inside a page by the dozen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT, BASE, TOP = 420, 150, 126, 18


def bars(values: Sequence[float], *, bins: int = 24) -> str:
    """Histogram of numbers; the outermost 0.5% on each side are gathered in the first and the last bar."""
    data = np.asarray([value for value in values if math.isfinite(value)], dtype=float)
    if len(data) == 0:
        return ""
    low, high = (float(edge) for edge in np.quantile(data, [0.005, 0.995]))
    if low == high:
        low, high = low - 0.5, high + 0.5
    whole = bool(np.all(data == np.round(data)))
    if whole and high - low < bins:  # one bar an integer
        low, high = math.floor(low) - 0.5, math.ceil(high) + 0.5
        bins = round(high - low)
    counts, edges = np.histogram(np.clip(data, low, high), bins=bins, range=(low, high))
    titles = [f"{_short(left)} to {_short(right)}: {count:,}" for left, right, count in zip(edges, edges[1:], counts)]  # noqa: B905
    middle = float(np.median(data))
    ends = (_short(math.ceil(low)), _short(math.floor(high))) if whole else (_short(low), _short(high))
    return _svg(counts.tolist(), titles, ends=ends, note=f"{len(data):,} values, median {_short(middle)}")


def named_bars(counts: dict[str, int], *, most: int = 15) -> str:
    """Horizontal bars of the largest counts."""
    shown = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
    if not shown:
        return ""
    largest, row = max(1, shown[0][1]), 18
    parts = [f'<svg class="plot" viewBox="0 0 {WIDTH} {row * len(shown) + 4}" role="img">']
    for place, (name, count) in enumerate(shown):
        label = name if len(name) <= 26 else name[:25] + "…"
        y, length = place * row, (WIDTH - 240) * count / largest
        parts.append(
            f'<text x="158" y="{y + 13}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="164" y="{y + 3}" width="{max(1.0, length):.1f}" height="{row - 6}"/>'
            f'<text x="{170 + length:.1f}" y="{y + 13}" class="faint">{count:,}</text>'
        )
    return "".join(parts) + "</svg>"


def _svg(counts: list[int], titles: list[str], *, ends: tuple[str, str], note: str) -> str:
    largest, step = max(1, *counts), WIDTH / len(counts)
    parts = [f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for place, (count, title) in enumerate(zip(counts, titles, strict=True)):
        height = (BASE - TOP) * count / largest
        parts.append(
            f'<rect x="{place * step + 1:.1f}" y="{BASE - height:.1f}" width="{step - 2:.1f}" height="{height:.1f}">'
            f"<title>{escape(title)}</title></rect>"
        )
    parts.append(
        f'<line x1="0" x2="{WIDTH}" y1="{BASE}" y2="{BASE}"/>'
        f'<text x="1" y="{BASE + 17}">{escape(ends[0])}</text>'
        f'<text x="{WIDTH - 1}" y="{BASE + 17}" text-anchor="end">{escape(ends[1])}</text>'
        f'<text x="{WIDTH - 1}" y="11" text-anchor="end" class="faint">{escape(note)}</text>'
    )
    return "".join(parts) + "</svg>"


def _short(value: float) -> str:
    if value == round(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:,.3g}" if abs(value) < 1e4 else f"{value:,.0f}"
