"""Small inline SVG plots: lines over steps, intervals beside chance, a confusion map, points of a shared space."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

COLORS = ("#2457a7", "#c2410c", "#15803d", "#7e22ce", "#b91c1c", "#0e7490")
Line = Sequence[tuple[float, float]]


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers inside a range."""
    if high <= low:
        high = low + 1
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def lines(series: dict[str, Line], *, title: str, from_zero: bool = True, axis: str = "step") -> str:
    """Draw several lines over one axis; an empty string when there is nothing to draw."""
    series = {name: points for name, points in series.items() if len(points) > 1}
    if not series:
        return ""
    width, height, left, right, bottom = 440, 250, 50, 12, 28
    top = 50 if len(series) > 1 else 34
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    x_low, x_high, y_low, y_high = min(xs), max(xs), min(0.0, *ys) if from_zero else min(ys), max(ys)
    margin = (y_high - y_low or abs(y_high) or 1) * 0.06
    y_high, y_low = y_high + margin, y_low if from_zero else y_low - margin

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - x_low) / max(x_high - x_low, 1) * (width - left - right),
            height - bottom - (y - y_low) / (y_high - y_low) * (height - top - bottom),
        )

    parts = [f'<text x="{left}" y="18" class="plot-title">{html.escape(title)}</text>']
    for tick in nice_ticks(y_low, y_high):
        _, y = place(x_low, tick)
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" class="tick" text-anchor="end">{tick:g}</text>')
    for tick in nice_ticks(x_low, x_high, 4):
        x, _ = place(tick, y_low)
        if x < left + 12:  # leaves room for the axis's name
            continue
        parts.append(f'<text x="{x:.1f}" y="{height - 9}" class="tick" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{left - 6}" y="{height - 9}" class="tick" text-anchor="end">{html.escape(axis)}</text>')
    key = float(left)
    for number, (name, points) in enumerate(series.items()):
        color = COLORS[number % len(COLORS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>')
        if len(series) > 1:
            parts.append(f'<rect x="{key:.0f}" y="27" width="10" height="10" rx="2" fill="{color}"/>')
            parts.append(f'<text x="{key + 14:.0f}" y="36" class="tick">{html.escape(name)}</text>')
            key += 28 + 6.2 * len(name)
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


def spectrum_plot(spectra: dict[str, list[float]]) -> str:
    """Draw how the variance of each modality falls from direction to direction, as powers of ten."""
    series: dict[str, Line] = {
        name: [(float(place), math.log10(share)) for place, share in enumerate(shares, start=1) if share > 1e-8]
        for name, shares in spectra.items()
    }
    title = "Share of the variance along each direction, as a power of 10"
    return lines(series, title=title, from_zero=False, axis="no.")


def interval(value: float, low: float | None, high: float | None, *, chance: float | None, goal: float | None) -> str:
    """Draw a share from 0 to 1 with its interval, chance as a grey mark and the target as a dashed one."""
    width, height = 240, 22

    def x(share: float) -> float:
        return 5 + min(max(share, 0.0), 1.0) * (width - 10)

    parts = [
        f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="5" y2="17" class="grid"/>' for at in (0, 0.25, 0.5, 0.75, 1)
    ]
    parts.append(f'<rect x="5" y="9" width="{max(0.5, x(value) - 5):.1f}" height="4" class="bar"/>')
    if low is not None and high is not None:
        parts.append(f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="11" y2="11" class="interval"/>')
    parts.append(f'<circle cx="{x(value):.1f}" cy="11" r="3.6" class="dot"/>')
    if chance is not None:
        parts.append(f'<line x1="{x(chance):.1f}" x2="{x(chance):.1f}" y1="4" y2="18" class="chance"/>')
    if goal is not None:
        parts.append(f'<line x1="{x(goal):.1f}" x2="{x(goal):.1f}" y1="1" y2="21" class="goal"/>')
    return f'<svg class="row-plot" viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


def confusion_map(names: list[str], counts: list[list[int]]) -> str:
    """Draw a confusion table, each row scaled to its sum."""
    longest = max(map(len, names))
    cell, left, top = 26, 16 + 6.6 * longest, 20 + 4.9 * longest
    size = len(names) * cell
    parts = []
    for row, (name, line) in enumerate(zip(names, counts, strict=True)):
        total, label, y = max(sum(line), 1), html.escape(name), top + row * cell
        parts.append(f'<text x="{left - 8}" y="{y + 17}" class="tick" text-anchor="end">{label}</text>')
        x = left + row * cell + 15
        parts.append(f'<text transform="translate({x},{top - 7}) rotate(-48)" class="tick">{label}</text>')
        for column, count in enumerate(line):
            share = count / total
            tone = f"rgba(36,87,167,{0.08 + 0.92 * share:.2f})" if count else "#f3f5f8"
            at = left + column * cell
            told = f"{label}, taken for {html.escape(names[column])}: {count} of {total}"
            parts.append(
                f'<rect x="{at}" y="{y}" width="{cell - 1}" height="{cell - 1}" rx="2" fill="{tone}">'
                f"<title>{told}</title></rect>"
            )
            if share >= 0.1:
                ink = "#fff" if share > 0.5 else "#1c2430"
                parts.append(
                    f'<text x="{at + cell / 2 - 0.5:.1f}" y="{y + 17}" class="in-cell" fill="{ink}" '
                    f'text-anchor="middle">{100 * share:.0f}</text>'
                )
    width, height = left + size + 4.4 * len(names[-1]), top + size + 4
    # Its own size in pixels at most: a map of three classes is not blown up to a page's width.
    style = f"max-width: {width:.0f}px"
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="{style}" role="img">{"".join(parts)}</svg>'


def scatter(points: list[dict[str, Any]]) -> str:
    """Draw points of several modalities in two dimensions, a thin line joining those of one row."""
    if not points:
        return ""
    width, height, edge = 640, 430, 16
    xs, ys = [point["x"] for point in points], [point["y"] for point in points]

    def place(point: dict[str, Any]) -> tuple[float, float]:
        return (
            edge + (point["x"] - min(xs)) / (max(xs) - min(xs) or 1) * (width - 2 * edge),
            height - edge - (point["y"] - min(ys)) / (max(ys) - min(ys) or 1) * (height - 3 * edge - 10),
        )

    rows: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        rows.setdefault(point["row"], []).append(place(point))
    parts = []
    for corners in rows.values():
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        parts.append(f'<polygon points="{path}" fill="none" stroke="#c9d1db" stroke-width="0.6"/>')
    modalities = list(dict.fromkeys(point["modality"] for point in points))
    for point in points:
        x, y = place(point)
        color = COLORS[modalities.index(point["modality"]) % len(COLORS)]
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}" fill-opacity="0.8">'
            f"<title>{html.escape(point['modality'])}: {html.escape(point['label'])}</title></circle>"
        )
    for number, name in enumerate(modalities):
        at = edge + 90 * number
        parts.append(f'<circle cx="{at + 5}" cy="12" r="5" fill="{COLORS[number % len(COLORS)]}"/>')
        parts.append(f'<text x="{at + 16}" y="16" class="tick">{html.escape(name)}</text>')
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'
