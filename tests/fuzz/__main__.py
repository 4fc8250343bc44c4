"""``python -m tests.fuzz [--share N]``: all mutants and hostile files, as JSON with the targets they are held to."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.__main__ import machine
from tests.fuzz.hostile import HOSTILE
from tests.fuzz.media import FORMATS, fuzz_media, outcome
from tests.fuzz.test_media import LONGEST_SECONDS, MOST_GROWTH_BYTES
from tests.fuzz.test_tars import LEAST_RECOVERED, fuzz_tars


def main() -> int:
    """Run everything; a broken law is an AssertionError that names the seed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--share", type=int, default=1, help="one in so many mutants; default 1: all")
    share = parser.parse_args().share
    with tempfile.TemporaryDirectory() as folder:
        rows = [*tar_rows(Path(folder), 10_000 // share), *hostile_rows(), *media_rows(50_000 // share)]
    print(json.dumps({"machine": machine(), "rows": rows}, indent=1))
    return 0


def tar_rows(folder: Path, mutants: int) -> list[dict[str, Any]]:
    """What became of mutated shards."""
    found = fuzz_tars(folder / "mutant.tar", mutants)
    return [
        row("mutated shards: harmful ones flagged", found.harmful, found.flagged, of=mutants),
        row("mutated shards: share of good samples recovered", LEAST_RECOVERED, found.recovered / found.samples),
        row("mutated shards: wrong pairs caught by an index made before", found.mispaired, found.mispaired_caught),
    ]


def hostile_rows() -> list[dict[str, Any]]:
    """Hostile files that became what the table says."""
    right = sum(outcome(each.kind, each.make()) == each.becomes for each in HOSTILE)
    return [row("hostile media files: as the table says", len(HOSTILE), right)]


def media_rows(mutants: int) -> list[dict[str, Any]]:
    """What became of mutated media."""
    found = fuzz_media(mutants)
    name = f"mutated media of {len(FORMATS)} formats"
    causes = dict(found.causes.most_common())
    return [
        row(f"{name}: decoded or named", mutants, found.mutants, decoded=found.decoded.total(), causes=causes),
        row(f"{name}: slowest, processor seconds", LONGEST_SECONDS, round(found.slowest_seconds, 3)),
        row(f"{name}: growth of resident memory, bytes", MOST_GROWTH_BYTES, found.rss_growth_bytes),
    ]


def row(name: str, target: float, reached: float, **more: Any) -> dict[str, Any]:
    """One line of the results."""
    return {"name": name, "target": target, "reached": reached, **more}


if __name__ == "__main__":
    sys.exit(main())
