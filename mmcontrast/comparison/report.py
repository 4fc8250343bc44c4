"""The report of a comparison: one table, one plot of intervals, and the numbers as JSON."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcontrast.config import dump
from mmcontrast.evaluate.page import rendered

if TYPE_CHECKING:
    from mmcontrast.comparison.numbers import Number
    from mmcontrast.comparison.setup import Comparison

    Numbers = dict[str, dict[str, Number]]

COST = ("seconds per step", "last loss", "CPU seconds", "peak MiB")


def write_report(comparison: Comparison, numbers: Numbers, *, steps: int) -> Path:
    """Write ``report.html``, ``report.md`` and ``comparison.json``; return the first one's path."""
    out = comparison.out
    out.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(key for each in numbers.values() for key in each))
    about, noise = in_words(comparison, numbers, steps=steps)
    lines = [line(name, numbers) for name in names]
    (out / "report.md").write_text(markdown(lines, list(numbers), f"{about} {noise}"), encoding="utf-8")
    tree = {"about": f"{about} {noise}", "config": dump(comparison), "numbers": as_tree(numbers)}
    (out / "comparison.json").write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    page = rendered(
        "objectives.html.j2",
        about=about,
        noise=noise,
        candidates=list(numbers),
        sections=[
            {"title": title, "lines": kept}
            for title, kept in (
                ("What was learned", [each for each in lines if each["measure"] not in COST]),
                ("What it cost", [each for each in lines if each["measure"] in COST]),
            )
            if kept
        ],
        plot=base64.b64encode(plot(numbers, names)).decode(),
        settings=dump(comparison),
    )
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def in_words(comparison: Comparison, numbers: Numbers, *, steps: int) -> tuple[str, str]:
    """What was held fixed, and what the intervals are."""
    counts = sorted({len(number.values) for each in numbers.values() for number in each.values()})
    seeds = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    about = (
        f"{len(numbers)} of {len(comparison.candidates)} candidates, {steps} updates each, {seeds} seed(s); towers, "
        f"data, batches and optimizer are those of {comparison.base.name}."
    )
    if counts[-1] == 1:
        return about, "One seed: no interval, so no difference here is shown to be more than noise."
    first = next(iter(numbers))
    return about, (
        "Numbers are means over seeds, with half of the 95% interval of Student's t: training noise, not the noise of "
        f"the test sets. Bold: the difference from {first}, seed by seed, has a 95% interval without zero; of many "
        "differences, a few are so by luck."
    )


def line(measure: str, numbers: Numbers) -> dict[str, Any]:
    """One measure of all candidates: what is shown, and whether it differs from the first candidate's."""
    first = next(iter(numbers.values())).get(measure)
    cells = []
    for each in numbers.values():
        number = each.get(measure)
        difference = None if number is None or first is None else number.minus(first)
        cells.append(
            {
                "shown": "" if number is None else shown(number),
                # Losses of different objectives have no common scale, and costs depend on who else used the machine.
                "differs": measure not in COST and difference is not None and difference.is_apart_from_zero,
            }
        )
    return {"measure": measure, "cells": cells}


def as_tree(numbers: Numbers) -> dict[str, Any]:
    """The numbers for JSON, each with its difference from the first candidate's."""
    first = next(iter(numbers.values()))
    tree: dict[str, Any] = {}
    for candidate, row in numbers.items():
        tree[candidate] = {}
        for key, each in row.items():
            difference = each.minus(first[key]) if key in first else None
            tree[candidate][key] = {"values": each.values, "mean": each.mean, "half": each.half} | (
                {} if difference is None else {"difference": difference.mean, "difference half": difference.half}
            )
    return tree


def shown(number: Number) -> str:
    """``0.412 ± 0.013``, with as many digits as the interval carries."""
    if number.half is None:
        return f"{number.mean:.4g}"
    return f"{number.mean:.3g} ± {number.half:.2g}"


def markdown(lines: list[dict[str, Any]], candidates: list[str], about: str) -> str:
    """The table as Markdown, a line a measure."""
    rows = [["", *candidates], ["---", *("---:" for _ in candidates)]]
    for each in lines:
        cells = [f"**{cell['shown']}**" if cell["differs"] else cell["shown"] for cell in each["cells"]]
        rows.append([each["measure"], *cells])
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"# Objectives compared\n\n{about}\n\n{table}\n"


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
        for height, candidate in enumerate(candidates):
            number = numbers[candidate].get(names[place])
            if number is None:
                continue
            panel.errorbar(
                [number.mean], [height], xerr=number.half, fmt="o", color="#2457a7", capsize=3, markersize=5
            )
            panel.plot(number.values, [height] * len(number.values), "|", color="#c2410c", markersize=8)
        panel.set_yticks(range(len(candidates)), candidates if place % columns == 0 else [])
        panel.set_ylim(len(candidates) - 0.5, -0.5)
        panel.set_title(names[place], fontsize=9)
        panel.grid(axis="x", alpha=0.3)
        panel.tick_params(labelsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()
