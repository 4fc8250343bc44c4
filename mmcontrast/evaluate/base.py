"""What evaluators say: metrics with intervals and controls, and reports that survive a trip through JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmcontrast.evaluate.intervals import bootstrap, clustered_wilson, wilson
from mmcontrast.geometry.base import Geometry


class Encoder(Protocol):
    """What an evaluator may use of a model."""

    geometry: Geometry
    modalities: tuple[str, ...]

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms that ``encode`` expects."""

    @property
    def window_seconds(self) -> float | None:
        """Longest sound that ``encode`` hears as a whole, in order; null: any."""

    def encode(self, modality: str, items: Sequence[Any], *, progress: str | None = None) -> Tensor:
        """Embed items: (N, D) float32 on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number, how sure it is, and what knowing nothing would give."""

    value: float
    low: float | None = None  # 95% interval
    high: float | None = None
    method: str = ""  # how the interval was made
    count: int  # queries behind it
    chance: float | None = None
    controls: dict[str, float] = field(default_factory=dict)  # shuffled, constant, majority, untrained
    unit: Literal["share", "number"] = "share"  # shares are printed as percent


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One picture, sound or caption of a gallery; media are named by their place in a source, not copied."""

    kind: str  # image | audio | text
    caption: str
    source: str = ""  # manifest folder, or package:NAME
    position: int = -1  # row of the source
    right: bool | None = None
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Example:
    """A query and its best answers."""

    query: Shown
    answers: list[Shown]
    rank: int  # of the best right answer, strictly; 1 is best


@dataclass(frozen=True, kw_only=True)
class PerItem:
    """Every query's own result, so that two runs can be compared query by query."""

    keys: list[str]
    values: dict[str, list[float]]  # metric -> one value a key
    clusters: list[str]  # keys of equal cluster are not independent


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one evaluator found."""

    evaluator: str
    metrics: dict[str, Metric]
    primary: str
    num_rows: int
    title: str = ""
    modalities: tuple[str, ...] = ()
    missing: list[str] = field(default_factory=list)  # one message a row that could not be used
    notes: list[str] = field(default_factory=list)  # what a reader of the numbers must know: k above the pool, say
    facts: dict[str, Any] = field(default_factory=dict)  # tie rates, pool sizes, prompts
    classes: dict[str, tuple[float, int]] = field(default_factory=dict)  # class -> (accuracy, rows)
    confusion: dict[str, Any] | None = None  # names and counts, for few classes
    confused: list[tuple[str, str, int]] = field(default_factory=list)  # (class, taken for, rows), most first
    gallery: list[Example] = field(default_factory=list)  # in even steps through the queries
    failures: list[Example] = field(default_factory=list)  # the queries that are furthest off, worst first
    scatter: list[dict[str, Any]] = field(default_factory=list)  # points in two dimensions
    spectra: dict[str, list[float]] = field(default_factory=dict)  # modality -> shares of variance, largest first
    per_item: list[PerItem] = field(default_factory=list)


class Evaluator:
    """Base of evaluators: keeps the config, says what the model must encode, and heads the report.

    A new one has a ``Config`` with ``title``, and ``metric_names`` and ``run``; those that read other modalities than
    ``config.modality`` say so.
    """

    also_reads: ClassVar[tuple[str, ...]] = ()  # modalities besides the config's

    def __init__(self, config: Any) -> None:
        self.config = config

    @classmethod
    def modalities(cls, config: Any) -> tuple[str, ...]:
        """What the model must be able to encode."""
        return (config.modality, *cls.also_reads)

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        raise NotImplementedError

    def report(self, *, metrics: dict[str, Metric], num_rows: int, primary: str = "", **fields: Any) -> Report:
        """Report under this evaluator's name and title; the first metric is the primary one unless said otherwise."""
        return Report(
            evaluator=self.config.registry_name,
            title=self.config.title,
            modalities=self.modalities(self.config),
            metrics=metrics,
            primary=primary or next(iter(metrics)),
            num_rows=num_rows,
            **fields,
        )


def proportion(
    hits: Float[Tensor, " Q"],
    *,
    chance: float | None,
    controls: dict[str, float],
    clusters: Int[Tensor, " Q"] | None = None,
    weights: Float[Tensor, " Q"] | None = None,
) -> Metric:
    """Metric of a share of hits, with Wilson's interval; rows of one cluster are not independent.

    Args:
        clusters: queries of equal value belong together (several sounds of one instrument).
        weights: how much each query counts; null: all alike.
    """
    values = hits.double().numpy()
    if weights is not None:
        share = weights.double().numpy()
        groups = np.arange(len(values)) if clusters is None else clusters.numpy()
        low, high = clustered_wilson(values, groups, weights=share)
        method = "wilson, effective rows"
    elif clusters is None or len(torch.unique(clusters)) == len(hits):
        low, high = wilson(float(values.sum()), len(values))
        method = "wilson"
    else:
        low, high = clustered_wilson(values, clusters.numpy())
        method = "wilson, effective rows"
    return Metric(
        value=float(np.average(values, weights=None if weights is None else weights.double().numpy())),
        low=low,
        high=high,
        method=method,
        count=len(values),
        chance=chance,
        controls=controls,
    )


def mean_of(
    values: Float[Tensor, " Q"],
    *,
    clusters: Int[Tensor, " Q"],
    controls: dict[str, float],
    weights: Float[Tensor, " Q"] | None = None,
    chance: float | None = None,
) -> Metric:
    """Metric of a mean of graded values, with a bootstrap over clusters.

    Args:
        weights: how much each value counts; null: all alike.
    """
    share = None if weights is None else weights.double() / weights.double().sum()
    low, high = bootstrap(values.double().numpy(), clusters.numpy(), weights=None if share is None else share.numpy())
    return Metric(
        value=float(values.double().mean() if share is None else values.double() @ share),
        low=low,
        high=high,
        method="bootstrap over clusters",
        count=len(values),
        chance=chance,
        controls=controls,
    )


def shuffled(ids: Tensor, *, seed: int = 0) -> Tensor:
    """The same ids in another order: which caption belongs to which row is now wrong."""
    return ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))]


def constant_like(z: Tensor) -> Tensor:
    """The same point for every row: the control that must earn nothing from ties."""
    return z[:1].expand(len(z), -1)


def above_pool(ks: Sequence[int], pool: int, *, of: str = "in the pool") -> list[str]:
    """A note where k is so large that every query counts as found, whatever the model."""
    over = [str(k) for k in ks if k > pool]
    return [f"k = {', '.join(over)} is above the {pool:,} {of}: every query counts as found"] if over else []


def worst(badness: Float[Tensor, " Q"] | Int[Tensor, " Q"], wrong: Bool[Tensor, " Q"], wanted: int) -> list[int]:
    """At most ``wanted`` wrong queries, those of the highest badness first, the earlier of equal ones first."""
    order = badness.sort(descending=True, stable=True).indices
    return [int(number) for number in order[wrong[order]][:wanted]]


def spread_out(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` positions below ``count``, in fixed steps: examples are not picked by hand."""
    return sorted({number * count // wanted for number in range(wanted)}) if count else []
