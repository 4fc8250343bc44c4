"""Small inline SVG plots: lines over steps, intervals beside chance, a confusion map."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

COLORS = ("#2457a7", "#c2410c", "#15803d", "#7e22ce", "#b91c1c", "#0e7490")
Line = Sequence[tuple[float, float]]


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover a range."""
    if high <= low:
        high = low + 1
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = min((factor * power for factor in (1, 2, 5, 10) if factor * power >= raw), default=raw)
    first = math.floor(low / step) * step
    return [first + number * step for number in range(int((high - first) / step) + 2) if first + number * step <= high]


def lines(series: dict[str, Line], *, title: str, width: int = 440, height: int = 240, unit: str = "") -> str:
    """Draw several lines over one axis of steps."""
    series = {name: points for name, points in series.items() if points}
    if not series:
        return ""
    left, right, top, bottom = 52, 14, 30, 30
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    x_low, x_high, y_low, y_high = min(xs), max(xs), min(0.0, *ys), max(ys)
    y_high = y_high if y_high > y_low else y_low + 1
    x_span = max(x_high - x_low, 1)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - x_low) / x_span * (width - left - right),
            height - bottom - (y - y_low) / (y_high - y_low) * (height - top - bottom),
        )

    parts = [f'<text x="{left}" y="16" class="plot-title">{html.escape(title)}</text>']
    for tick in nice_ticks(y_low, y_high):
        _, y = place(x_low, tick)
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" class="tick" text-anchor="end">{tick:g}{unit}</text>')
    for tick in nice_ticks(x_low, x_high, 4):
        if tick >= x_low:
            x, _ = place(tick, y_low)
            parts.append(f'<text x="{x:.1f}" y="{height - 10}" class="tick" text-anchor="middle">{tick:g}</text>')
    for number, (name, points) in enumerate(series.items()):
        color = COLORS[number % len(COLORS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>')
        if len(series) > 1:
            y = top + 6 + 15 * number
            parts.append(f'<rect x="{width - right - 120}" y="{y - 8}" width="10" height="10" fill="{color}"/>')
            parts.append(f'<text x="{width - right - 105}" y="{y + 1}" class="tick">{html.escape(name)}</text>')
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


def interval(value: float, low: float, high: float, *, chance: float | None, goal: float | None) -> str:
    """Draw a share from 0 to 1 with its interval, chance as a grey mark and the target as a black one."""
    width, height = 220, 22

    def x(share: float) -> float:
        return 4 + share * (width - 8)

    parts = [f'<rect x="4" y="9" width="{width - 8}" height="4" rx="2" class="track"/>']
    parts.append(f'<rect x="4" y="9" width="{max(0.5, x(value) - 4):.1f}" height="4" rx="2" class="bar"/>')
    parts.append(f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="11" y2="11" class="interval"/>')
    parts.append(f'<circle cx="{x(value):.1f}" cy="11" r="3.6" class="dot"/>')
    if chance is not None:
        parts.append(f'<line x1="{x(chance):.1f}" x2="{x(chance):.1f}" y1="4" y2="18" class="chance"/>')
    if goal is not None:
        parts.append(f'<line x1="{x(goal):.1f}" x2="{x(goal):.1f}" y1="2" y2="20" class="goal"/>')
    return f'<svg class="row-plot" viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


def confusion_map(names: list[str], counts: list[list[int]]) -> str:
    """Draw a confusion table, each row scaled to its sum."""
    cell, left, top = 22, 140, 110
    size = len(names) * cell
    parts = []
    for row, (name, line) in enumerate(zip(names, counts, strict=True)):
        total = max(sum(line), 1)
        label = html.escape(name)
        y = top + row * cell
        parts.append(f'<text x="{left - 6}" y="{y + 15}" class="tick" text-anchor="end">{label}</text>')
        x = left + row * cell + 14
        parts.append(f'<text transform="translate({x},{top - 6}) rotate(-50)" class="tick">{label}</text>')
        for column, count in enumerate(line):
            share = count / total
            tone = f"rgba(36,87,167,{0.06 + 0.94 * share:.2f})" if count else "#f3f4f6"
            parts.append(
                f'<rect x="{left + column * cell}" y="{y}" width="{cell - 1}" height="{cell - 1}" fill="{tone}">'
                f"<title>{label} heard as {html.escape(names[column])}: {count} of {total}</title></rect>"
            )
    return f'<svg viewBox="0 0 {left + size + 60} {top + size + 6}" role="img">{"".join(parts)}</svg>'
