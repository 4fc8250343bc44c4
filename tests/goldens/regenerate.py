"""Write the resolved tree of every shipped config, flattened and sorted: ``make goldens``."""

from __future__ import annotations

from pathlib import Path

from mmcontrast.config import flatten, to_tree
from mmcontrast.run import load_run

ROOT = Path(__file__).parent.parent.parent


def main() -> None:
    """Regenerate every golden."""
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        if {"base", "mend"} & {*path.parts} or path.name.startswith("objectives"):  # no runs
            continue
        golden = ROOT / "tests/goldens" / path.relative_to(ROOT / "configs").with_suffix(".txt")
        golden.parent.mkdir(parents=True, exist_ok=True)
        lines = sorted(f"{key}: {value!r}" for key, value in flatten(to_tree(load_run(path))).items())
        golden.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
