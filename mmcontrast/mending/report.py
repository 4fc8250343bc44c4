"""The report of a mending: what rose, what was kept, with paired intervals, as a page, Markdown and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcontrast.config import dump
from mmcontrast.data.shards import resolve

if TYPE_CHECKING:
    from mmcontrast.mending.differences import Difference
    from mmcontrast.mending.setup import Mending

VERDICTS = {True: "reached", False: "not reached", None: ""}


def in_words(mending: Mending, found: list[Difference]) -> list[str]:
    """One line for each expectation."""
    lines = []
    for each in found:
        if each.reached is None:
            continue
        bar = f"+{mending.rise_points:g}" if each.expected == "rise" else f"-{mending.keep_points:g}"
        lines.append(
            f"{each.name}: {each.metric} {_percent(each.before)} -> {_percent(each.after)}, {100 * each.mean:+.1f} "
            f"points ({_range(each)}), at least {bar} asked: {VERDICTS[each.reached]}"
        )
    return lines


def write_report(mending: Mending, found: list[Difference]) -> Path:
    """Write ``report.html``, ``report.md`` and ``mending.json``; return the first one's path."""
    import jinja2

    out = mending.out
    seeds = len(found[0].before) if found else 0
    about = (
        f"{seeds} seed(s). Shares are in percent, differences in points: the mean over seeds of post-trained minus "
        "baseline of the same seed. The interval draws items (whole clusters of them), each with its mean over seeds; "
        "the marks are the seeds."
    )
    rows = [_row(each) for each in found]
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(resolve("package:report")), autoescape=True)
    page = environment.get_template("mending.html.j2").render(
        about=about, words=in_words(mending, found), names=list(mending.posttrain), rows=rows, settings=dump(mending)
    )
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    tree = {"about": about, "config": dump(mending), "differences": [asdict(each) for each in found]}
    (out / "mending.json").write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    lines = ["| post-training | evaluation | metric | before | after | difference | 95% | asked |",
             "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |"]  # fmt: skip
    lines += [
        f"| {row['name']} | {row['title']} | {row['metric']} | {row['before']} | {row['after']} | {row['points']} "
        f"| {row['range']} | {row['expected']} {row['verdict']} |"
        for row in rows
    ]
    (out / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _row(each: Difference) -> dict[str, Any]:
    return {
        "name": each.name,
        "title": each.title,
        "metric": each.metric.rpartition(".")[2],
        "before": _percent(each.before),
        "after": _percent(each.after),
        "points": f"{100 * each.mean:+.1f}",
        "range": _range(each),
        "count": each.count,
        "expected": each.expected,
        "verdict": VERDICTS[each.reached],
        "reached": each.reached,
        "plot": slope(each.before, each.after, chance=each.chance),
    }


def _percent(values: list[float]) -> str:
    return f"{100 * sum(values) / len(values):.1f}"


def _range(each: Difference) -> str:
    return "" if each.low is None or each.high is None else f"{100 * each.low:+.1f} to {100 * each.high:+.1f}"


def slope(before: list[float], after: list[float], *, chance: float | None) -> str:
    """Draw each seed's share before (hollow) and after (filled) on a line from 0 to 1, chance as a grey mark."""
    width, height = 260, 8 + 8 * len(before)

    def x(share: float) -> float:
        return 6 + min(max(share, 0.0), 1.0) * (width - 12)

    parts = [
        f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="2" y2="{height - 2}" class="grid"/>'
        for at in (0, 0.25, 0.5, 0.75, 1)
    ]
    if chance is not None:
        parts.append(f'<line x1="{x(chance):.1f}" x2="{x(chance):.1f}" y1="1" y2="{height - 1}" class="chance"/>')
    for number, (first, last) in enumerate(zip(before, after, strict=True)):
        y = 8 + 8 * number
        parts.append(f'<line x1="{x(first):.1f}" x2="{x(last):.1f}" y1="{y}" y2="{y}" class="interval"/>')
        parts.append(f'<circle cx="{x(first):.1f}" cy="{y}" r="3" class="before"/>')
        parts.append(f'<circle cx="{x(last):.1f}" cy="{y}" r="3" class="dot"/>')
    return f'<svg class="row-plot" viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'
