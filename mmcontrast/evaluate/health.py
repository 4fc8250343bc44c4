"""Health of a representation: how embeddings of each modality fill the space, and how the modalities lie in it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from mmcontrast.config import config
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Evaluator, Metric, Report, mean_of, shuffled
from mmcontrast.evaluate.bench import Bench
from mmcontrast.evaluate.intervals import wilson
from mmcontrast.evaluate.metrics.health import (
    anisotropy,
    effective_rank,
    gap,
    isotropy,
    outlier_dimensions,
    separability,
    spectrum,
    uniformity,
)
from mmcontrast.evaluate.paired import PairedRows, paired_rows

ALONE: dict[str, Callable[[Tensor], float]] = {
    "uniformity": uniformity,
    "effective rank": effective_rank,
    "anisotropy": anisotropy,
    "isotropy": isotropy,
}
KEPT = 128  # shares of a spectrum kept in the result


@EVALUATORS.register("health")
class Health(Evaluator):
    """Alignment, gap and separability of modalities; uniformity, effective rank, anisotropy, isotropy of each.

    None of these is good or bad by itself: they say why a metric of a task is as it is (a collapsed tower, a few
    dimensions that rule every similarity, modalities that share no threshold).  ``spread_evenly`` is what as many
    random directions of as many dimensions give, ``shuffled`` what rows that do not belong together give.  Only
    alignment and separability have intervals; the others are properties of the whole set of points.

    Source: the functions of ``metrics/health.py`` name theirs.
    """

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # manifest folder, package:NAME, or a reader's files, with rows of several modalities
        modalities: tuple[str, ...] = ("image", "text")  # of the rows
        caption_field: str = "caption"  # field of the captions
        where: dict[str, str] = {}  # keep rows whose field has this value
        title: str = ""  # heading in reports

        def __post_init__(self) -> None:
            if len(set(self.modalities)) != len(self.modalities) or not self.modalities:
                raise ValueError("modalities: name at least one, each once.")

    @classmethod
    def modalities(cls, config: Any) -> tuple[str, ...]:
        """What the model must be able to encode."""
        return tuple(config.modalities)

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        pairs = [f"{name} {a}-{b}" for a, b in combinations(config.modalities, 2)
                 for name in ("alignment", "gap", "separability")]  # fmt: skip
        return (*pairs, *(f"{name} {modality}" for modality in config.modalities for name in ALONE))

    def run(self, bench: Bench) -> Report:
        """Measure the rows that have every modality."""
        rows = paired_rows(bench, self.config)
        metrics: dict[str, Metric] = {}
        for a, b in combinations(self.config.modalities, 2):
            metrics |= _of_pair(rows, a, b)
        for modality in self.config.modalities:
            metrics |= _of_one(rows, modality)
        outliers = {name: outlier_dimensions(each["trained"]) for name, each in rows.z.items()}
        return self.report(
            metrics=metrics,
            num_rows=rows.count,
            missing=rows.missing,
            facts={f"share of outlier dimensions {name}": each.share for name, each in outliers.items()}
            | {f"outlier dimensions {name}": float(len(each.dimensions)) for name, each in outliers.items()}
            | {
                f"outlier dimension {name} #{place}": float(dimension)
                for name, each in outliers.items()
                for place, dimension in enumerate(each.dimensions[:5], start=1)
            },
            scatter=rows.scatter() if len(rows.z) > 1 else [],
            spectra={
                name: [float(share) for share in spectrum(each["trained"])[:KEPT]] for name, each in rows.z.items()
            },
        )


def _of_pair(rows: PairedRows, a: str, b: str) -> dict[str, Metric]:
    """Alignment, gap and separability of two modalities."""

    def distances(who: str, order: Tensor) -> Tensor:
        return (rows.z[a][who] - rows.z[b][who][order]).double().square().sum(dim=1)

    own, others = torch.arange(rows.count), [who for who in rows.z[a] if who != "trained"]
    aligned = mean_of(
        distances("trained", own),
        clusters=own,
        controls={"shuffled": float(distances("trained", shuffled(own)).mean())}
        | {who: float(distances(who, own).mean()) for who in others},
    )
    apart = {who: separability(rows.z[a][who], rows.z[b][who]) for who in rows.z[a]}
    held = 2 * (rows.count - max(1, rows.count // 5))
    low, high = wilson(apart["trained"] * held, held)
    return {
        f"alignment {a}-{b}": Metric(**{**aligned.__dict__, "unit": "number"}),
        f"gap {a}-{b}": Metric(
            value=gap(rows.z[a]["trained"], rows.z[b]["trained"]),
            count=rows.count,
            controls={who: gap(rows.z[a][who], rows.z[b][who]) for who in others},
            unit="number",
        ),
        f"separability {a}-{b}": Metric(
            value=apart["trained"],
            low=low,
            high=high,
            method="wilson, held-out points",
            count=held,
            chance=0.5,
            controls={who: apart[who] for who in others},
        ),
    }


def _of_one(rows: PairedRows, modality: str) -> dict[str, Metric]:
    """How one modality fills the space."""
    z = rows.z[modality]
    noise = torch.randn(z["trained"].shape, generator=torch.Generator().manual_seed(0))
    even = noise / noise.norm(dim=1, keepdim=True) * z["trained"].norm(dim=1, keepdim=True)
    return {
        f"{name} {modality}": Metric(
            value=measure(z["trained"]),
            count=rows.count,
            controls={"spread_evenly": measure(even)}
            | {who: measure(each) for who, each in z.items() if who != "trained"},
            unit="number",
        )
        for name, measure in ALONE.items()
    }
