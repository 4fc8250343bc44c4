"""How far apart the modalities lie in the shared space."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from mmcontrast.config import config
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Evaluator, Metric, Report
from mmcontrast.evaluate.bench import Bench
from mmcontrast.evaluate.metrics.health import alignment, gap, uniformity
from mmcontrast.evaluate.paired import paired_rows


@EVALUATORS.register("modality_gap")
class ModalityGap(Evaluator):
    """Distance between the means of two modalities' embeddings, with alignment and uniformity.

    Distances are those of the coordinates, so numbers of different geometries do not compare.  A gap is neither good
    nor bad by itself; it says why scores of different pairs of modalities cannot share a threshold.

    Source: Liang et al. 2022, arXiv:2203.02053, section 2 (gap); Wang and Isola 2020, arXiv:2005.10242, equations 1
    and 2 (alignment with exponent 2, uniformity with t = 2).
    """

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # manifest folder, or package:NAME
        modalities: tuple[str, ...] = ("image", "audio", "text")  # columns of the source
        caption_field: str = "caption"  # JSON field of the captions
        where: dict[str, str] = {}  # keep rows whose JSON field has this value
        title: str = ""  # heading in reports

        def __post_init__(self) -> None:
            if len(set(self.modalities)) < 2:
                raise ValueError("modalities: a gap needs two.")

    @classmethod
    def modalities(cls, config: Any) -> tuple[str, ...]:
        """What the model must be able to encode."""
        return tuple(config.modalities)

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return tuple(f"gap {a}-{b}" for a, b in combinations(config.modalities, 2))

    def run(self, bench: Bench) -> Report:
        """Measure the rows that have every modality."""
        config = self.config
        rows = paired_rows(bench, config)
        z = rows.z
        return self.report(
            metrics={
                f"gap {a}-{b}": Metric(
                    value=gap(z[a]["trained"], z[b]["trained"]),
                    count=rows.count,
                    controls={who: gap(z[a][who], z[b][who]) for who in bench.encoders if who != "trained"},
                    unit="number",
                )
                for a, b in combinations(config.modalities, 2)
            },
            primary=self.metric_names(config)[0],
            num_rows=rows.count,
            missing=rows.missing,
            facts={
                f"alignment {a}-{b}": alignment(z[a]["trained"], z[b]["trained"])
                for a, b in combinations(config.modalities, 2)
            }
            | {f"uniformity {name}": uniformity(z[name]["trained"]) for name in config.modalities},
            scatter=rows.scatter(),
        )
