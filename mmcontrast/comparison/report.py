"""The report of a comparison: tables, plots of intervals, and the numbers as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmcontrast.comparison.measure import SPACE
from mmcontrast.comparison.numbers import Number
from mmcontrast.comparison.plots import Numbers, alignment_and_uniformity, apart, figure, panel
from mmcontrast.comparison.setup import Comparison
from mmcontrast.config import dump
from mmcontrast.evaluate.page import rendered

COST = ("seconds per step", "last loss", "CPU seconds", "peak MiB")
GROUPS = {
    "What it is good for": "Each evaluator's main score: higher is better.",
    "The shape of the space": (
        "Alignment is the squared distance of pairs and gap the distance of the modalities' means: lower is nearer. "
        "Uniformity: lower is more even. Effective rank: how many directions are used."
    ),
    "What it cost": (
        "Seconds per step are those of the clock, which others on the machine stretch. Losses of different objectives "
        "have no common scale. None of these is tested for differences."
    ),
}


def write_report(comparison: Comparison, numbers: Numbers, *, steps: int) -> Path:
    """Write ``report.html``, ``report.md`` and ``comparison.json``; return the first one's path."""
    out = comparison.out
    out.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(key for each in numbers.values() for key in each))
    about, noise = in_words(comparison, numbers, steps=steps)
    lines = {name: line(name, numbers) for name in names}
    drawn = {name: panel(name, numbers, judged=name not in COST) for name in names}
    space = alignment_and_uniformity(numbers)
    (out / "figure.svg").write_text(figure([*drawn.values(), *([space] if space else [])]), encoding="utf-8")
    (out / "report.md").write_text(markdown(list(lines.values()), list(numbers), f"{about} {noise}"), encoding="utf-8")
    tree = {"about": f"{about} {noise}", "config": dump(comparison), "numbers": as_tree(numbers)}
    (out / "comparison.json").write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    sections = []
    for title, said in GROUPS.items():
        kept = [name for name in names if group_of(name) == title]
        panels = [drawn[name] for name in kept] + ([space] if space and title == "The shape of the space" else [])
        shown = [lines[name] for name in kept]
        sections += [{"title": title, "said": said, "lines": shown, "panels": panels}] if kept else []
    page = rendered(
        "objectives.html.j2",
        about=about,
        noise=noise,
        candidates=list(numbers),
        sections=sections,
        settings=dump(comparison),
    )
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def group_of(measure: str) -> str:
    """Which part of the report a measure stands in."""
    if measure in COST:
        return "What it cost"
    is_space = measure.rpartition(": ")[2].startswith(SPACE)
    return "The shape of the space" if is_space else "What it is good for"


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
        f"the test sets. Bold, and orange in the plots: the difference from {first}, seed by seed, has a 95% interval "
        f"without zero; of many differences, a few are so by luck. The band of a plot is the interval of {first}."
    )


def line(measure: str, numbers: Numbers) -> dict[str, Any]:
    """One measure of all candidates: what is shown, and whether it differs from the first candidate's."""
    first = next(iter(numbers.values())).get(measure)
    cells = []
    for each in numbers.values():
        number = each.get(measure)
        differs = number is not None and first is not None and apart(number, first)
        cells.append(
            {
                "shown": "" if number is None else shown(number, share=group_of(measure) == next(iter(GROUPS))),
                # Losses of different objectives have no common scale, and costs depend on who else used the machine.
                "differs": measure not in COST and differs,
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


def shown(number: Number, *, share: bool = False) -> str:
    """``0.412 ± 0.013``, with as many digits as the interval carries; a share from 0 to 1 as ``41.2% ± 1.3``."""
    if share and all(0 <= value <= 1 for value in number.values):
        half = "" if number.half is None else f" ± {100 * number.half:.2g}"
        return f"{100 * number.mean:.3g}%{half}"
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
    return f"# Objectives compared\n\n{about}\n\n{table}\n\n![Means, intervals and seeds](figure.svg)\n"
