"""A suite: named evaluators and the numbers they should reach, run over one encoder."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from mmcontrast.config import OneOf, config, dump, flatten, load, to_tree
from mmcontrast.data.shards import open_shards, resolve
from mmcontrast.errors import ConfigError, did_you_mean
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Bench, Encoder, Report

SCHEMA = "mmcontrast.eval/1"
PACKAGES = ("torch", "torchaudio", "timm", "open_clip_torch", "numpy", "pillow", "soundfile")


@config
class Suite:
    """Named evaluators."""

    evals: dict[str, Annotated[Any, OneOf(EVALUATORS)]]
    targets: dict[str, float] = {}  # "evaluator.metric" -> value it should reach


@dataclass(frozen=True)
class SuiteResult:
    """Reports of a suite, with what they were made from."""

    name: str
    suite: Suite
    reports: dict[str, Report]
    skipped: dict[str, str] = field(default_factory=dict)  # evaluator -> why
    about: dict[str, Any] = field(default_factory=dict)  # checkpoint, data hashes, versions

    def target(self, evaluator: str, metric: str) -> float | None:
        """The value that a metric should reach, if one is set."""
        return self.suite.targets.get(f"{evaluator}.{metric}")


def suite_names() -> list[str]:
    """Suites shipped with mmcontrast."""
    return sorted(path.stem for path in resolve("package:suites").glob("*.yaml"))


def read_suite(name: str) -> tuple[str, Suite]:
    """Read a shipped suite by name, or a YAML file.

    Raises:
        ConfigError: no such suite, or one with problems.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else resolve(f"package:suites/{name}.yaml")
    if not path.is_file():
        known = suite_names()
        raise ConfigError(
            f"no suite is named '{name}'.{did_you_mean(name, known)} Known: {', '.join(known)}, or a YAML file."
        )
    suite = load(Suite, path)
    for target in suite.targets:
        if target.rsplit(".", 1)[0] not in suite.evals:
            raise ConfigError(f"targets.{target}: there is no such evaluator in '{path}'.")
    return path.stem, suite


def run_suite(
    name: str,
    suite: Suite,
    encoder: Encoder,
    *,
    untrained: Encoder | None = None,
    about: dict[str, Any] | None = None,
    quiet: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> SuiteResult:
    """Run every evaluator whose modalities the encoder has; the others are named as skipped."""
    bench = Bench(encoder, untrained, quiet=quiet)
    reports, skipped = {}, {}
    for number, (label, evaluator) in enumerate(suite.evals.items(), start=1):
        lacking = [each for each in modalities_of(evaluator) if each not in encoder.modalities]
        if lacking:
            skipped[label] = f"the model has no {' and no '.join(lacking)} tower"
            continue
        say(f"[{number}/{len(suite.evals)}] {label}")
        reports[label] = EVALUATORS.build(evaluator).run(bench)
    data = {
        source: open_shards(source).manifest.sha256()
        for source in sorted({getattr(evaluator, "source") for evaluator in suite.evals.values()})  # noqa: B009
    }
    facts = {**(about or {}), "data_sha256": data, "versions": versions()}
    return SuiteResult(name, suite, reports, skipped, facts)


def modalities_of(evaluator: Any) -> tuple[str, ...]:
    """Modalities that an evaluator's config asks of an encoder."""
    tree = to_tree(evaluator)
    named = [tree[key] for key in ("query", "target", "modality") if key in tree]
    return tuple(dict.fromkeys([*named, "text"] if "query" not in tree else named))


def versions() -> dict[str, str]:
    """Python's and the packages' versions."""
    found = {"python": platform.python_version()}
    for package in ("mmcontrast", *PACKAGES):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def write_result(result: SuiteResult, folder: Path) -> Path:
    """Write ``results.json``: every metric with its interval and controls, nothing that is not a number."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    tree = {
        "schema": SCHEMA,
        "suite": result.name,
        "about": result.about,
        "skipped": result.skipped,
        "config": flatten(to_tree(result.suite)),
        "evaluators": {
            name: {
                "evaluator": report.evaluator,
                "primary": report.primary,
                "num_rows": report.num_rows,
                "num_missing": len(report.missing),
                "missing": report.missing[:100],
                "facts": report.facts,
                "metrics": {
                    metric: {**asdict(value), "target": result.target(name, metric)}
                    for metric, value in report.metrics.items()
                },
                "classes": {key: {"accuracy": value, "rows": rows} for key, (value, rows) in report.classes.items()},
            }
            for name, report in result.reports.items()
        },
    }
    path.write_text(json.dumps(_finite(tree), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "suite.yaml").write_text(dump(result.suite), encoding="utf-8")
    return path


def _finite(value: Any) -> Any:
    """Replace what JSON cannot hold (NaN, infinities) by null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
