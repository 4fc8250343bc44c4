"""Evaluation during training: the offline evaluation, on weights that are still in memory.

Embeddings are made by a second model without objectives, optimizer or wrappers, into which the engine copies its
weights one at a time.  So the numbers are those of ``mmcontrast eval run`` on a checkpoint of the same step, whatever
the engine, the precision and the number of ranks; nothing of training is touched, and no rank waits for another
inside of a forward.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from functools import partial
from math import floor
from typing import Any

import torch
from torch import Tensor

from mmcontrast import comm
from mmcontrast.checkpoint import Clock, folder_name
from mmcontrast.config import dump
from mmcontrast.engines.base import Engine
from mmcontrast.errors import ConfigError, EvaluationFailed, MissingData, MMContrastError, did_you_mean
from mmcontrast.evals import PREFIX, EvalConfig
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Report
from mmcontrast.evaluate.bench import Rows
from mmcontrast.evaluate.collection import located
from mmcontrast.evaluate.encoder import TowerEncoder, writers
from mmcontrast.evaluate.suite import Suite, SuiteResult, read_suite, run_suite, write_result
from mmcontrast.evaluate.table import written
from mmcontrast.model import Model, ModelConfig
from mmcontrast.randomness import undisturbed
from mmcontrast.run import Run
from mmcontrast.watchdog import Watchdog

FOLDER = "eval/training"  # below the run folder
# Fields of evaluators that name a field of every row of ``source``, and of every row of ``train_source``.
FIELDS_OF_ALL_ROWS = ("caption_field", "cluster", "fold", "group", "label", "levels", "match", "pair")
FIELDS_OF_LEARNED_ROWS = ("cluster", "label")


@dataclass(frozen=True)
class Planned:
    """One entry of a run's ``evals`` that can be run."""

    config: EvalConfig
    title: str  # the suite's name
    suite: Suite  # without the evaluators that cannot be run
    left_out: dict[str, str]  # evaluator -> why
    problems: list[str]  # why the run must not start

    def metric(self, name: str, evaluator: str, metric: str) -> str:
        """Name of a number in metrics.jsonl."""
        return f"{PREFIX}{name}/{metric}" if self.config.suite is None else f"{PREFIX}{name}/{evaluator}/{metric}"

    def metrics(self, name: str) -> list[str]:
        """Names of all numbers that may be written."""
        return [
            self.metric(name, label, metric)
            for label, evaluator in self.suite.evals.items()
            for metric in EVALUATORS.get(evaluator.registry_name).metric_names(evaluator)
        ]

    def without(self, left_out: dict[str, str]) -> Planned:
        """The same without some evaluators."""
        evals = {label: each for label, each in self.suite.evals.items() if label not in left_out}
        suite = replace(self.suite, evals=evals, targets={})  # type: ignore[type-var]
        return replace(self, suite=suite, left_out=self.left_out | left_out)


def check_evals(run: Run) -> list[str]:
    """Check all that can be decided without weights: suites, towers, files, filters and fields; return it in words.

    Raises:
        ConfigError: every problem, one a line.
    """
    plans = {name: planned(name, config, run.model) for name, config in run.evals.items()}
    problems = [f"evals.{name}: {line}" for name, plan in plans.items() for line in plan.problems]
    problems += [
        f"evals.{name}.weights: ema, but the run averages no weights. Set ema, or weights: raw."
        for name, config in run.evals.items()
        if config.weights == "ema" and run.ema is None
    ]
    best, known = run.checkpoint.best_metric, [each for name, plan in plans.items() for each in plan.metrics(name)]
    if best.startswith(PREFIX) and best not in known and not problems:
        listing = ", ".join(known) or "none, as evals is empty"
        problems.append(
            f"checkpoint.best_metric: no evaluation gives '{best}'.{did_you_mean(best, known)} Known: {listing}."
        )
    if problems:
        raise ConfigError("\n".join(problems))
    lines = []
    for name, plan in plans.items():
        lines.append(f"evaluation {name}: {', '.join(plan.suite.evals)}; {_when(plan.config)}")
        lines += [f"evaluation {name}: {label} is left out, {why}" for label, why in plan.left_out.items()]
    return lines


def _when(config: EvalConfig) -> str:
    parts = [f"every {config.every_steps:,} steps"] if config.every_steps else []
    parts += [f"every {config.every_epochs:g} epochs"] if config.every_epochs else []
    return ", ".join([*parts, *(["at the end"] if config.at_end else [])])


def planned(name: str, config: EvalConfig, model: ModelConfig) -> Planned:
    """Read what an entry of ``evals`` means, and open its files."""
    try:
        title, suite = (
            (name, Suite(evals={name: config.evaluator})) if config.suite is None else read_suite(config.suite)
        )
    except ConfigError as error:
        return Planned(config, "", Suite(evals={}), {}, [str(error)])
    left_out, problems = {}, []
    for label, evaluator in suite.evals.items():
        kind = EVALUATORS.get(evaluator.registry_name)
        lacking = [each for each in kind.modalities(evaluator) if each not in model.towers]
        if lacking:
            left_out[label] = f"the model has no {' and no '.join(lacking)} tower"
            continue
        try:
            _open(evaluator, config)
        except MissingData as error:
            left_out[label] = str(error)
            if not config.allow_missing:
                problems.append(f"{label}: {error} Or set allow_missing: true, to go without.")
        except MMContrastError as error:
            problems.append(f"{label}: {error}")
    plan = Planned(config, title, suite, {}, problems).without(left_out)
    if not plan.suite.evals and not problems:
        problems.append("nothing of it can be run: " + "; ".join(f"{label}: {why}" for label, why in left_out.items()))
    return plan


def _open(evaluator: Any, config: EvalConfig) -> None:
    """Open the sources that an evaluator names, read the rows that pass its filters, and their fields that it names.

    Raises:
        MissingData, ConfigError, ShardError: what the evaluator itself would raise.
    """
    values = {field.name: getattr(evaluator, field.name) for field in fields(evaluator)}
    if "text" not in values.get("modalities", ("text",)):
        values.pop("caption_field", None)
    for name in sorted(values):
        if name.endswith("source") and values[name] is not None:
            where = values.get(f"{name.removesuffix('source')}where", {})
            rows = Rows(located(values[name], config.data), where)
            for field in FIELDS_OF_ALL_ROWS if name == "source" else FIELDS_OF_LEARNED_ROWS:
                named = values.get(field) or ()
                for each in (named,) if isinstance(named, str) else named:
                    rows.values(each)


class Evaluations:
    """A run's evaluations: when each is due, and where its results go.  Every method is collective."""

    def __init__(self, run: Run, *, watchdog: Watchdog, say: Callable[[str], None]) -> None:
        """Open the files again, so that every rank runs the same evaluators.

        Args:
            say: prints one line on rank 0.
        """
        self._run, self._watchdog, self._say = run, watchdog, say
        plans = {name: planned(name, config, run.model) for name, config in run.evals.items()}
        absent: dict[str, dict[str, str]] = {name: {} for name in plans}
        for one in comm.gather_objects({name: plan.left_out for name, plan in plans.items()}):
            for name, left_out in one.items():
                absent[name] |= left_out
        self._plans = {name: plan.without(absent[name]) for name, plan in plans.items()}
        self._passed: dict[str, int] = {}  # evaluation by epochs -> how often it was due so far
        self._encoder: TowerEncoder | None = None
        self.failures = 0

    def start(self, epochs: float) -> None:
        """Say how many epochs the run has behind it when it starts or resumes."""
        self._passed = {
            name: n for name, plan in self._plans.items() if (n := _times(plan.config, epochs)) is not None
        }

    def due(self, step: int, *, last: int, epochs: float) -> list[str]:
        """Names of the evaluations to run after ``step`` steps; called once a step."""
        names = []
        for name, plan in self._plans.items():
            config, times = plan.config, _times(plan.config, epochs)
            passed = times is not None and times > self._passed.get(name, 0)
            if times is not None:
                self._passed[name] = times
            by_steps = config.every_steps is not None and step % config.every_steps == 0
            if by_steps or passed or (config.at_end and step == last):
                names.append(name)
        return names

    def run(self, names: Iterable[str], clock: Clock, engine: Engine) -> dict[str, float]:
        """Evaluate; return the numbers by their names in metrics.jsonl.

        Raises:
            EvaluationFailed: an evaluator failed, and its policy says stop.
        """
        began = time.perf_counter()
        found: dict[str, float] = {}
        with undisturbed():
            for name in names:
                found |= self._one(name, clock, engine)
            if self._encoder is not None:
                self._encoder.model.to("cpu")  # the device's memory is training's
        return {**found, "eval_seconds": time.perf_counter() - began, "eval_failures": self.failures}

    # ------------------------------------------------------------------ parts

    def _one(self, name: str, clock: Clock, engine: Engine) -> dict[str, float]:
        plan = self._plans[name]

        def attempt(label: str, run: Callable[[], Report]) -> Report:
            with self._watchdog.at(f"evaluation {name} {label}", step=clock.step):
                return together(run)

        result = run_suite(
            plan.title,
            plan.suite,
            self._filled(engine.weights(plan.config.weights), device=str(engine.device)),
            about={
                "run": self._run.out.resolve().name,
                "checkpoint": f"{folder_name(clock.step)}, while training"
                + (" (moving average)" if plan.config.weights == "ema" else ""),
                "config": dump(self._run),
                "training": [],
            },
            data=plan.config.data,
            workers=plan.config.workers,
            attempt=attempt,
            alive=partial(self._alive, name, clock.step),
        )
        for label, why in result.failed.items():
            self._failed(name, label, why, clock.step)
        try:
            together(partial(self._write, name, result, clock.step))
        except EvaluationFailed as error:
            self._failed(name, "results", str(error), clock.step)
        return self._numbers(name, result, clock.step)

    def _filled(self, weights: Iterable[tuple[str, Tensor]], *, device: str) -> TowerEncoder:
        """The encoder, with these weights."""
        if self._encoder is None:
            self._encoder = TowerEncoder(Model(self._run.model, writers(self._run)), device=device)
        self._encoder.model.to(device)
        missing = self._encoder.model.state_dict()
        with torch.no_grad():
            for name, value in weights:  # each rank takes part in fetching all of them
                if (target := missing.pop(name, None)) is not None:
                    target.copy_(value)
        assert not missing, f"the engine's model lacks {', '.join(missing)}"
        return self._encoder

    def _alive(self, name: str, step: int) -> None:
        """A block of rows is encoded: the rank is not stuck."""
        with self._watchdog.at(f"evaluation {name}", step=step):
            pass

    def _write(self, name: str, result: SuiteResult, step: int) -> None:
        if comm.rank() == 0:
            write_result(result, self._run.out / FOLDER / name / folder_name(step))

    def _numbers(self, name: str, result: SuiteResult, step: int) -> dict[str, float]:
        plan, words = self._plans[name], []
        found: dict[str, float] = {}
        for label, report in result.reports.items():
            found |= {plan.metric(name, label, each): metric.value for each, metric in report.metrics.items()}
            primary = report.metrics[report.primary]
            words.append(f"{label} {report.primary} {written(primary.value, primary.unit)}")
            if report.missing:
                found[plan.metric(name, label, "missing_rows")] = len(report.missing)
                words[-1] += f" ({len(report.missing):,} rows missing, the first: {report.missing[0]})"
        if words:
            self._say(f"evaluation {name} after step {step}: {', '.join(words)}")
        return found

    def _failed(self, name: str, label: str, why: str, step: int) -> None:
        self.failures += 1
        place = name if label == name else f"{name}, {label},"
        message = f"evaluation {place} failed after step {step}: {why}"
        if self._plans[name].config.on_error == "stop":
            error = EvaluationFailed(f"{message} The run ends, as evals.{name}.on_error is stop.")
            error.on_every_rank = True
            raise error
        self._say(f"ALARM: {message} Training goes on.")


def _times(config: EvalConfig, epochs: float) -> int | None:
    return None if config.every_epochs is None else floor(epochs / config.every_epochs)


def together(run: Callable[[], Any]) -> Any:
    """Call a function on every rank; if it fails on one, it has failed on all.

    Raises:
        EvaluationFailed: it failed, for any reason: a mistake in one evaluator need not end a run of weeks.
    """
    try:
        with comm.together(EvaluationFailed):
            return run()
    except MMContrastError as error:
        raise EvaluationFailed(str(error)) from error
    except Exception as error:
        if comm.is_lost_connection(error):
            raise
        raise EvaluationFailed(f"{type(error).__name__}: {error}") from error
