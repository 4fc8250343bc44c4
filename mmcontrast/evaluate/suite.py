"""A suite: named evaluators and the numbers they should reach, run over one encoder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from mmcontrast.config import OneOf, config, dump, load, to_tree
from mmcontrast.data.shards import resolve
from mmcontrast.errors import ConfigError, EvaluationFailed, MissingData, NoDecoder, WindowTooShort, did_you_mean
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Encoder, Report
from mmcontrast.evaluate.bench import Bench
from mmcontrast.evaluate.cache import EmbeddingCache
from mmcontrast.evaluate.provenance import environment, with_digest

SCHEMA = "mmcontrast.eval/1"
PACKAGES = ("torch", "torchaudio", "timm", "open_clip_torch", "numpy", "pillow", "soundfile")
MISSING_NAMED = 100  # rows that did not decode, named in results.json; all are counted


@config
class Suite:
    """Named evaluators."""

    evals: dict[str, Annotated[Any, OneOf(EVALUATORS)]]
    targets: dict[str, float] = {}  # "evaluator.metric" -> value it should reach
    about: str = ""  # what is measured, for the head of the report
    limits: str = ""  # what the numbers do not say, for its end


@dataclass(frozen=True)
class SuiteResult:
    """Reports of a suite, with what they were made from."""

    name: str
    suite: Suite
    reports: dict[str, Report]
    skipped: dict[str, str] = field(default_factory=dict)  # evaluator -> why: what the model lacks
    absent: dict[str, str] = field(default_factory=dict)  # evaluator -> which files are not there
    failed: dict[str, str] = field(default_factory=dict)  # evaluator -> why it broke off, where that ends nothing
    about: dict[str, Any] = field(default_factory=dict)  # checkpoint, data, versions

    @property
    def partial(self) -> int:
        """Evaluations without their files or that failed, and rows that could not be used."""
        return len(self.absent) + len(self.failed) + sum(len(report.missing) for report in self.reports.values())


def suite_names() -> list[str]:
    """Suites shipped with mmcontrast."""
    return sorted(path.stem for path in resolve("package:suites").glob("*.yaml"))


def read_suite(name: str) -> tuple[str, Suite]:
    """Read a shipped suite by name, or a YAML file.

    Raises:
        ConfigError: no such suite, or one with problems.
    """
    is_file = name.endswith((".yaml", ".yml"))
    path = Path(name) if is_file else resolve(f"package:suites/{name}.yaml")
    if not path.is_file():
        known = suite_names()
        raise ConfigError(
            f"no suite is named '{name}'.{did_you_mean(name, known)} Known: {', '.join(known)}, or a YAML file."
        )
    suite = load(Suite, path)
    _check_targets(suite, path)
    return path.stem, suite


def metric_names(suite: Suite) -> list[str]:
    """Every ``EVALUATOR.METRIC`` that the suite reports."""
    return [
        f"{name}.{metric}"
        for name, evaluator in suite.evals.items()
        for metric in EVALUATORS.get(evaluator.registry_name).metric_names(evaluator)
    ]


def _check_targets(suite: Suite, path: Path) -> None:
    known = metric_names(suite)
    wrong = [target for target in suite.targets if target not in known]
    if wrong:
        lines = [f"  targets.{each}: no evaluator gives that metric.{did_you_mean(each, known)}" for each in wrong]
        raise ConfigError(f"{path}: targets are named EVALUATOR.METRIC\n" + "\n".join(lines))


def run_suite(
    name: str,
    suite: Suite,
    encoder: Encoder,
    *,
    untrained: Encoder | None = None,
    about: dict[str, Any] | None = None,
    quiet: bool = True,
    say: Callable[[str], None] = lambda text: None,
    data: Path | None = None,
    cache: Path | None = None,
    workers: int = 1,
    attempt: Callable[[str, Callable[[], Report]], Report] = lambda label, run: run(),
    alive: Callable[[], None] = lambda: None,
) -> SuiteResult:
    """Run every evaluator whose modalities the encoder has; the others are named as skipped.

    Args:
        untrained: the same model with random weights, measured beside the trained one.
        about: what was evaluated; kept in the result.
        quiet: show no progress bars.
        say: called with one line before each evaluator.
        data: folder from which relative sources are meant.
        cache: folder where embeddings are kept between runs.
        workers: threads that decode.
        attempt: calls an evaluator, given its name; what it raises as EvaluationFailed leaves that one out.
        alive: called after each block of rows.
    """
    kept = None if cache is None else EmbeddingCache(cache)
    bench = Bench(encoder, untrained, quiet=quiet, data=data, cache=kept, workers=workers, alive=alive)
    return run_on(name, suite, bench, about=about, say=say, attempt=attempt)


def run_on(
    name: str,
    suite: Suite,
    bench: Bench,
    *,
    about: dict[str, Any] | None = None,
    say: Callable[[str], None] = lambda text: None,
    attempt: Callable[[str, Callable[[], Report]], Report] = lambda label, run: run(),
) -> SuiteResult:
    """Run every evaluator on a bench: see :func:`run_suite`."""
    started, encoder = time.perf_counter(), bench.encoders["trained"]
    reports, skipped, absent, failed = {}, {}, {}, {}
    for number, (label, evaluator) in enumerate(suite.evals.items(), start=1):
        kind = EVALUATORS.get(evaluator.registry_name)
        lacking = [each for each in kind.modalities(evaluator) if each not in encoder.modalities]
        if lacking:
            skipped[label] = f"the model has no {' and no '.join(lacking)} tower"
            say(f"[{number}/{len(suite.evals)}] {label}: skipped, {skipped[label]}")
            continue
        say(f"[{number}/{len(suite.evals)}] {label}")
        try:
            reports[label] = attempt(label, partial(kind(evaluator).run, bench))
        except EvaluationFailed as error:
            failed[label] = str(error)
        except (WindowTooShort, NoDecoder) as error:
            skipped[label] = str(error)
            say(f"[{number}/{len(suite.evals)}] {label}: skipped, {error}")
        except MissingData as error:
            absent[label] = str(error)
            say(f"[{number}/{len(suite.evals)}] {label}: not run, {error}")
    facts = {
        **(about or {}),
        "data": {source: bench.opened[source].facts() for source in sorted(bench.opened)},
        "seconds": round(time.perf_counter() - started, 1),
        "versions": versions(),
        "preprocessing": with_digest({"of": getattr(encoder, "preprocessing", None)}),
        "environment": environment(encoder),
    }
    return SuiteResult(name, suite, reports, skipped, absent, failed, facts)


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Python's, this package's and the packages' versions."""
    found = {"python": platform.python_version()}
    for package in ("mmcontrast", *packages):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def result_tree(result: SuiteResult) -> dict[str, Any]:
    """The whole result as plain JSON values: what results.json holds, and what tables and reports are made from."""
    evaluators = {}
    for name, report in result.reports.items():
        tree = {key: value for key, value in asdict(report).items() if key not in ("per_item", "missing", "classes")}
        for metric, value in tree["metrics"].items():
            value["target"] = result.suite.targets.get(f"{name}.{metric}")
        evaluators[name] = tree | {
            "config": to_tree(result.suite.evals[name]),
            "num_missing": len(report.missing),
            "missing": report.missing[:MISSING_NAMED],
            "classes": {key: {"accuracy": value, "rows": rows} for key, (value, rows) in report.classes.items()},
        }
        prompts = report.facts.get("prompts")
        if prompts:
            evaluators[name]["prompts_sha256"] = hashlib.sha256("\n".join(prompts).encode()).hexdigest()
    tree = {
        "schema": SCHEMA,
        "suite": result.name,
        "description": {"about": result.suite.about, "limits": result.suite.limits},
        "about": result.about,
        "protocol": with_digest(
            {
                "ties": "a tie with a wrong answer is wrong",
                "similarity": "float32",
                "evaluators": {name: to_tree(evaluator) for name, evaluator in result.suite.evals.items()},
            }
        ),
        "skipped": result.skipped,
        "absent": result.absent,
        "failed": result.failed,
        "evaluators": evaluators,
    }
    return dict(_finite(tree))


def write_result(result: SuiteResult, folder: Path) -> Path:
    """Write ``results.json``, ``per_item.jsonl`` and ``suite.yaml``; return the first one's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    text = json.dumps(result_tree(result), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
    with (folder / "per_item.jsonl").open("w", encoding="utf-8") as stream:
        for name, report in result.reports.items():
            for item in report.per_item:
                line = {"evaluator": name, **asdict(item)}
                stream.write(json.dumps(_finite(line), ensure_ascii=False, allow_nan=False) + "\n")
    (folder / "suite.yaml").write_text(dump(result.suite), encoding="utf-8")
    return path


def read_result(location: Path) -> tuple[Path, dict[str, Any]]:
    """Read a results.json, or the only one below a folder; return its path and tree.

    Raises:
        ConfigError: none, several, or not one of ours.
    """
    location = Path(location)
    found = [location] if location.is_file() else sorted(location.rglob("results.json"))
    if not found:
        raise ConfigError(f"no results.json at '{location}'. 'mmcontrast eval run' writes one.")
    if len(found) > 1:
        raise ConfigError(f"'{location}' holds {len(found)} results.json, name one: {', '.join(map(str, found))}.")
    try:
        tree = json.loads(found[0].read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"'{found[0]}' is not JSON: {error}") from error
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        raise ConfigError(f"'{found[0]}' is not a result of schema {SCHEMA}.")
    return found[0], tree


def _finite(value: Any) -> Any:
    """Replace what JSON cannot hold (NaN, infinities) by null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
