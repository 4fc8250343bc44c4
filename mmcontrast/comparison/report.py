"""The report of a comparison: one table, one plot of intervals, and the numbers as JSON."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mmcontrast.config import dump

if TYPE_CHECKING:
    from mmcontrast.comparison.numbers import Number
    from mmcontrast.comparison.setup import Comparison

    Numbers = dict[str, dict[str, Number]]

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1b1f24; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #d8dee4; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
th { white-space: normal; vertical-align: bottom; font-weight: 600; max-width: 10rem; }
img { max-width: 100%; }
pre { background: #f6f8fa; padding: 1rem; overflow-x: auto; }
"""


def write_report(comparison: Comparison, numbers: Numbers, *, steps: int) -> Path:
    """Write ``report.html``, ``report.md`` and ``comparison.json``; return the first one's path."""
    out = comparison.out
    out.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(key for each in numbers.values() for key in each))
    table = [["objective", *names]]
    for candidate, each in numbers.items():
        table.append([candidate, *(shown(each[key]) if key in each else "" for key in names)])
    counts = sorted({len(number.values) for each in numbers.values() for number in each.values()})
    seeds = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    noise = (
        "Numbers are means over seeds, with half of the 95% interval of Student's t: training noise, not the noise of "
        "the test sets."
    )
    if counts[-1] == 1:
        noise = "One seed: no interval, so no difference here is shown to be more than noise."
    about = (
        f"{len(numbers)} of {len(comparison.candidates)} candidates, {steps} updates each, {seeds} seed(s); towers, "
        f"data, batches and optimizer are those of {comparison.base.name}. {noise}"
    )
    (out / "report.md").write_text(markdown(table, about), encoding="utf-8")
    tree = {
        "about": about,
        "config": dump(comparison),
        "numbers": {
            candidate: {
                key: {"values": each.values, "mean": each.mean, "half": each.half} for key, each in row.items()
            }
            for candidate, row in numbers.items()
        },
    }
    (out / "comparison.json").write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    path = out / "report.html"
    path.write_text(page(table, about, plot(numbers, names), dump(comparison)), encoding="utf-8")
    return path


def shown(number: Number) -> str:
    """``0.412 +- 0.013``, with as many digits as the interval carries."""
    if number.half is None:
        return f"{number.mean:.4g}"
    return f"{number.mean:.4g} ± {number.half:.2g}"


def markdown(table: list[list[str]], about: str) -> str:
    """The table as Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in table]
    lines.insert(1, "|" + "---|" * len(table[0]))
    return f"# Objectives compared\n\n{about}\n\n" + "\n".join(lines) + "\n"


def page(table: list[list[str]], about: str, picture: bytes, settings: str) -> str:
    """One self-contained HTML page."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table[0])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table[1:])
    image = base64.b64encode(picture).decode()
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Objectives compared</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>Objectives compared</h1><p>{html.escape(about)}</p>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f'<h2>Means and intervals</h2><img alt="means and intervals" src="data:image/png;base64,{image}">'
        f"<h2>Settings</h2><pre>{html.escape(settings)}</pre></body></html>\n"
    )


def plot(numbers: Numbers, names: list[str]) -> bytes:
    """One panel a measure, one line a candidate: seeds as points, mean and interval as a bar."""
    from matplotlib.figure import Figure

    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    candidates = list(numbers)
    figure = Figure(figsize=(4.6 * columns, (0.32 * len(candidates) + 1.1) * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for place, panel in enumerate(panels):
        if place >= len(names):
            panel.set_visible(False)
            continue
        for line, candidate in enumerate(candidates):
            number = numbers[candidate].get(names[place])
            if number is None:
                continue
            panel.errorbar([number.mean], [line], xerr=number.half, fmt="o", color="#2457a7", capsize=3, markersize=5)
            panel.plot(number.values, [line] * len(number.values), "|", color="#c2410c", markersize=8)
        panel.set_yticks(range(len(candidates)), candidates if place % columns == 0 else [])
        panel.set_ylim(len(candidates) - 0.5, -0.5)
        panel.set_title(names[place], fontsize=9)
        panel.grid(axis="x", alpha=0.3)
        panel.tick_params(labelsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()
