"""Semantic textual similarity: do similarities of sentences order as people's judgements do?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Evaluator, Metric, Report, constant_like, shuffled
from mmcontrast.evaluate.bench import Bench, Rows
from mmcontrast.evaluate.blind import bag_of_words
from mmcontrast.evaluate.metrics.correlation import pearson, spearman

DRAWS = 500  # of the bootstrap over pairs
BLOCK_ROWS = 512  # pairs compared at a time
MEASURES: dict[str, Callable[[Tensor, Tensor], float]] = {"spearman": spearman, "pearson": pearson}


@EVALUATORS.register("sts")
class STS(Evaluator):
    """Spearman and Pearson correlation of the similarity of two sentences with the judgement of people.

    Spearman is what papers report; tied ranks share their mean.  ``word_overlap`` knows only which words both
    sentences hold (Jaccard), ``text_length`` only how much longer one is; ``bag_of_words`` is the model on sorted
    words.

    Source: Cer et al. 2017, SemEval task 1; over all pairs as in Gao et al. 2021, arXiv:2104.08821, appendix B.
    """

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # sts_benchmark:FOLDER, sick:FOLDER, or a YAML file of a table (.csv, .tsv, .jsonl, .parquet)
        first: str = "sentence1"  # field of one sentence
        second: str = "sentence2"  # field of the other
        score: str = "score"  # field of the judgement, larger is more alike
        where: dict[str, str] = {}  # keep rows whose field has this value
        title: str = ""  # heading in reports

    @classmethod
    def modalities(cls, config: Any) -> tuple[str, ...]:
        """What the model must be able to encode."""
        return ("text",)

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return tuple(MEASURES)

    def run(self, bench: Bench) -> Report:
        """Correlate the trained encoder's similarities, and the controls'."""
        config = self.config
        rows = bench.rows(config.source, config.where)
        first, second = rows.field(config.first), rows.field(config.second)
        judged = _numbers(rows, config.score)
        z = [bench.texts(sentences) for sentences in (first, second)]
        bags = [bench.texts([bag_of_words(text) for text in texts])["trained"] for texts in (first, second)]

        def compared(who: str, a: Tensor, b: Tensor) -> Tensor:
            similarity = bench.similarity(who)
            blocks = zip(a.split(BLOCK_ROWS), b.split(BLOCK_ROWS), strict=True)
            return torch.cat([similarity(left, right).diagonal() for left, right in blocks]).float()

        a, b = z[0]["trained"], z[1]["trained"]
        found = compared("trained", a, b)
        controls = {
            "shuffled": compared("trained", a, b[shuffled(torch.arange(len(b)))]),
            "constant": compared("trained", constant_like(a), constant_like(a)),
            "bag_of_words": compared("trained", *bags),
            "word_overlap": torch.tensor([overlap(*pair) for pair in zip(first, second, strict=True)]),
            "text_length": torch.tensor(
                [-float(abs(len(left) - len(right))) for left, right in zip(first, second, strict=True)]
            ),
            **{who: compared(who, z[0][who], z[1][who]) for who in bench.encoders if who != "trained"},
        }
        return self.report(
            metrics={name: _correlated(measure, found, judged, controls) for name, measure in MEASURES.items()},
            num_rows=len(judged),
            missing=rows.missing,
            facts={"equal_judgements": 1 - len(judged.unique()) / len(judged)},
        )


def overlap(first: str, second: str) -> float:
    """Share of the words of two texts that both hold."""
    a, b = set(bag_of_words(first).split()), set(bag_of_words(second).split())
    return len(a & b) / max(1, len(a | b))


def _numbers(rows: Rows, field: str) -> Tensor:
    for item, value in zip(rows.items, rows.values(field), strict=True):
        try:
            float(value)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"'{rows.source}' row '{item.key}': '{field}' is '{value}', no number.") from error
    return torch.tensor([float(value) for value in rows.values(field)], dtype=torch.float64)


def _correlated(
    measure: Callable[[Tensor, Tensor], float], found: Tensor, judged: Tensor, controls: dict[str, Tensor]
) -> Metric:
    rng, draws = np.random.default_rng(0), []
    for _ in range(DRAWS):
        chosen = torch.from_numpy(rng.integers(0, len(judged), size=len(judged)))
        draws.append(measure(found[chosen], judged[chosen]))
    low, high = np.quantile(draws, (0.025, 0.975))
    return Metric(
        value=measure(found, judged),
        low=float(low),
        high=float(high),
        method=f"bootstrap over pairs, {DRAWS} draws",
        count=len(judged),
        chance=0.0,
        controls={who: measure(each, judged) for who, each in controls.items()},
        unit="number",
    )
