"""The table of widths as text, as JSON, and as a page with two plots."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

from mmcontrast.evaluate.page import rendered
from mmcontrast.evaluate.plots import lines
from mmcontrast.widths.measure import Line, Measured

HEADER = ("code", "size", "bytes", "R@1", "queries/s")


def cells(line: Line) -> tuple[str, ...]:
    """One line's cells."""
    return (line.name, str(line.size), f"{line.bytes:g}", f"{line.recall:.3f}", f"{line.queries_per_second:,.0f}")


def in_words(measured: Measured) -> str:
    """What was measured."""
    return (
        f"{measured.queries:,} texts look for {measured.rows:,} rows; R@1: the first answer says the same. Speed: of "
        f"one thread's processor time, one query at a time, every one of {measured.corpus_rows:,} rows compared."
    )


def as_text(measured: Measured) -> list[str]:
    """The table for a terminal."""
    table = [HEADER, *(cells(line) for line in measured.lines)]
    widths = [max(len(row[place]) for row in table) for place in range(len(HEADER))]
    rows = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    return [in_words(measured), *rows]


def write_report(measured: Measured, out: Path, *, about: str) -> Path:
    """Write ``widths.json`` and ``report.html``; return the second one's path."""
    out.mkdir(parents=True, exist_ok=True)
    tree = {"about": f"{about} {in_words(measured)}", **asdict(measured)}
    (out / "widths.json").write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    kinds = dict.fromkeys(line.name for line in measured.lines)
    of = {
        kind: sorted((line for line in measured.lines if line.name == kind), key=lambda x: x.bytes) for kind in kinds
    }
    plots = [
        lines(
            {kind: [(math.log2(line.bytes), value(line)) for line in each] for kind, each in of.items()},
            title=title,
            axis="",
        )
        for title, value in (
            ("R@1 by log2 of the bytes of an embedding", lambda line: line.recall),
            ("Thousand queries a second by log2 of the bytes", lambda line: line.queries_per_second / 1000),
        )
    ]
    page = rendered(
        "widths.html.j2", about=f"{about} {in_words(measured)}", header=HEADER,
        rows=[cells(line) for line in measured.lines], plots=[plot for plot in plots if plot],
    )  # fmt: skip
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path
