"""What a run measures while it trains, and when: the config; evaluate/while_training.py does it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from mmcontrast.config import Count, OneOf, Positive, config
from mmcontrast.registry import Registry

EVALUATORS = Registry("evaluator", "mmcontrast.evaluate")
PREFIX = "eval/"  # of the names of these numbers in metrics.jsonl: eval/NAME/METRIC, or eval/NAME/EVALUATOR/METRIC


@config
class EvalConfig:
    """One suite or one evaluator, and the steps after which it is run."""

    suite: str | None = None  # a shipped suite's name, or a YAML file
    evaluator: Annotated[Any, OneOf(EVALUATORS)] | None = None  # one evaluator, in place of a suite
    every_steps: Count | None = None  # after each so many steps; null: not by steps
    every_epochs: Positive | None = None  # after each so many passes over the source of most rows; null: not by epochs
    at_end: bool = False  # after the last step
    weights: Literal["raw", "ema"] = "raw"  # as trained, or their moving average (field ema); until it begins, raw
    data: Path | None = None  # folder from which relative sources are meant; null: from where the process runs
    workers: Count = 1  # threads of each rank that decode pictures and sounds
    allow_missing: bool = False  # leave out the evaluators whose files are not there; false: the run does not start
    on_error: Literal["go_on", "stop"] = "go_on"  # when an evaluator fails: say it and train on, or end the run

    def __post_init__(self) -> None:
        if (self.suite is None) == (self.evaluator is None):
            raise ValueError("give suite or evaluator, one of the two.")
        if self.every_steps is None and self.every_epochs is None and not self.at_end:
            raise ValueError("is never due: set every_steps, every_epochs or at_end.")
