"""What changed from the baselines to the post-trained models, item by item and seed by seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmcontrast.evaluate.compare import read_items
from mmcontrast.evaluate.intervals import bootstrap
from mmcontrast.evaluate.suite import read_result
from mmcontrast.mending.setup import BASELINE

if TYPE_CHECKING:
    from mmcontrast.mending.setup import Mending


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of one post-training against its baselines, over seeds.  Shares, not percent."""

    name: str  # of the post-training
    metric: str  # EVALUATOR.METRIC
    title: str
    before: list[float]  # one a seed
    after: list[float]
    low: float | None  # 95% interval of the mean difference: items are drawn, each with its mean over seeds
    high: float | None
    count: int  # items that all results hold
    chance: float | None
    expected: str  # "rise", "keep" or "": what was asked of this metric
    reached: bool | None  # None where nothing was asked

    @property
    def mean(self) -> float:
        """Mean difference over seeds."""
        return float(np.mean(self.after) - np.mean(self.before))


def differences(mending: Mending, results: dict[tuple[str, int], Path]) -> list[Difference]:
    """Compare each post-training with the baseline of its seed, on every metric that both report.

    Args:
        results: folder with the suite's result, by run and seed.
    """
    seeds = [seed for seed in mending.seeds if all((name, seed) in results for name in (BASELINE, *mending.posttrain))]
    trees = {key: read_result(folder)[1]["evaluators"] for key, folder in results.items()}
    items = {key: read_items(folder) for key, folder in results.items()}
    found = []
    for name in mending.posttrain:
        for label, report in trees[BASELINE, seeds[0]].items():
            for metric, cell in report["metrics"].items():
                each = [(trees[BASELINE, seed][label], trees[name, seed].get(label)) for seed in seeds]
                pairs = [
                    (first["metrics"][metric]["value"], last["metrics"][metric]["value"])
                    for first, last in each
                    if last is not None and metric in last["metrics"] and metric in first["metrics"]
                ]
                if cell["unit"] != "share" or len(pairs) < len(seeds) or any(None in pair for pair in pairs):
                    continue
                before, after = [first for first, _ in pairs], [last for _, last in pairs]
                low, high, count = _interval(
                    [(items[BASELINE, seed].get((label, metric), {}), items[name, seed].get((label, metric), {}))
                     for seed in seeds]
                )  # fmt: skip
                full = f"{label}.{metric}"
                expected = "rise" if full in mending.rise.get(name, ()) else ""
                expected = expected or ("keep" if full in mending.keep.get(name, ()) else "")
                points = 100 * float(np.mean(after) - np.mean(before))
                reached = {"rise": points >= mending.rise_points, "keep": points >= -mending.keep_points}.get(expected)
                found.append(
                    Difference(
                        name=name,
                        metric=full,
                        title=report["title"],
                        before=before,
                        after=after,
                        low=low,
                        high=high,
                        count=count,
                        chance=cell.get("chance"),
                        expected=expected,
                        reached=reached,
                    )  # fmt: skip
                )
    return found


def _interval(
    pairs: list[tuple[dict[str, tuple[float, str]], dict[str, tuple[float, str]]]],
) -> tuple[float | None, float | None, int]:
    """Bootstrap the mean difference over the items that all seeds hold before and after."""
    keys = sorted(set.intersection(*(first.keys() & last.keys() for first, last in pairs)))
    if not keys:
        return None, None, 0
    values = np.array([[last[key][0] - first[key][0] for key in keys] for first, last in pairs]).mean(axis=0)
    low, high = bootstrap(values, np.array([pairs[0][1][key][1] for key in keys]))
    return low, high, len(keys)
