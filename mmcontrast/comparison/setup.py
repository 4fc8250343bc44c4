"""What a comparison holds fixed, and the runs that follow from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from mmcontrast.config import Count, NonNegativeCount, OneOf, config, load, merge, parse, read_tree, to_tree
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.run import Run

MOST_SEEDS = 10


@config
class Comparison:
    """What is compared: everything but the objectives and the seed is the base's."""

    base: Path  # config of the run that all share; relative to this file
    out: Path  # folder of the runs and the report
    changes: dict[str, Any] = {}  # fields of the base set otherwise, as a tree
    candidates: dict[str, dict[str, Annotated[Any, OneOf(OBJECTIVES)]]]  # name -> the run's objectives
    seeds: tuple[NonNegativeCount, ...] = (0, 1, 2)
    suite: str = "quickstart"  # what every run is evaluated by
    steps: Count | None = None  # updates; null: the base's

    def __post_init__(self) -> None:
        if not self.candidates or any(not objectives for objectives in self.candidates.values()):
            raise ValueError("candidates: name one or more, each with one or more objectives.")
        if not 1 <= len(set(self.seeds)) == len(self.seeds) <= MOST_SEEDS:
            raise ValueError(f"seeds: give 1 to {MOST_SEEDS} different numbers; intervals need 2 or more.")


def read_comparison(path: Path, overrides: list[str] | None = None) -> Comparison:
    """Read a comparison's config.

    Raises:
        ConfigError: every problem found in it.
    """
    return load(Comparison, path, overrides)


def runs_of(comparison: Comparison, *, beside: Path) -> dict[tuple[str, int], Run]:
    """The run of each candidate and seed.

    Args:
        beside: folder that the base is relative to.

    Raises:
        ConfigError: the base cannot be read, or a run made from it has problems.
    """
    base = merge(read_tree(beside / comparison.base), comparison.changes)
    runs = {}
    for seed in comparison.seeds:  # a whole round of candidates before the next seed: a cut-off leaves whole rounds
        for name, objectives in comparison.candidates.items():
            tree = {
                **base,
                "objectives": {key: to_tree(objective) for key, objective in objectives.items()},
                "seed": seed,
                "out": str(comparison.out / name / f"seed-{seed}"),
            }
            if comparison.steps is not None:
                tree["steps"] = comparison.steps
            runs[name, seed] = parse(Run, tree, where=f"candidate '{name}'")
    return runs
