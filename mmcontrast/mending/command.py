"""``mmcontrast mend``: baselines, probes, post-training, the same probes again, and a report with paired intervals."""

from __future__ import annotations

import shutil
from pathlib import Path

from mmcontrast.comparison.measure import run_command
from mmcontrast.config import dump
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.suite import read_suite
from mmcontrast.mending.differences import differences
from mmcontrast.mending.report import in_words, write_report
from mmcontrast.mending.setup import BASELINE, Mending, check_metrics, read_mending, runs_of
from mmcontrast.run import Run, check


def mend(path: Path, overrides: list[str] | None = None) -> Path:
    """Make the probes, train, evaluate and report; what a former call finished is kept.  Returns the report's path.

    The report is written anew after each seed.

    Raises:
        MMContrastError: a config that cannot work, before anything is trained; or a run that failed.
    """
    mending = read_mending(path, overrides)
    runs = runs_of(mending, beside=path.parent)
    suite = _write_suite(mending, beside=path.parent)
    for run in runs.values():
        check(run)
    for name, arguments in mending.probes.items():
        _make_probe(mending.out / "probes" / name, arguments)
    results: dict[tuple[str, int], Path] = {}
    report = mending.out / "report.html"
    for number, ((name, seed), run) in enumerate(runs.items(), start=1):
        print(f"[{number}/{len(runs)}] {name}, seed {seed}: {run.steps} steps in {run.out}", flush=True)
        results[name, seed] = _measured(mending, name, seed, run, suite)
        if all((each, seed) in results for each in (BASELINE, *mending.posttrain)):
            found = differences(mending, results)
            report = write_report(mending, found)
            print("\n".join(in_words(mending, found)), flush=True)
    return report


def _write_suite(mending: Mending, *, beside: Path) -> Path:
    """Write the suite with its probes' folders into the mending's folder; see that it holds what is asked."""
    source = beside / mending.suite
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"suite: '{source}' cannot be read: {error}") from error
    mending.out.mkdir(parents=True, exist_ok=True)
    written = mending.out / "suite.yaml"
    written.write_text(text.replace("{probes}", str(mending.out / "probes")), encoding="utf-8")
    check_metrics(mending, read_suite(str(written))[1])
    return written


def _make_probe(folder: Path, arguments: tuple[str, ...]) -> None:
    """Make one probe, unless it was made with the same arguments."""
    said = folder.with_name(f"{folder.name}.arguments")
    asked = "\n".join(arguments)
    if said.is_file() and said.read_text(encoding="utf-8") == asked:
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    print(f"probe {folder.name}: mmcontrast probe make {' '.join(arguments)}", flush=True)
    run_command(["probe", "make", *arguments, "--out", str(folder)], log=folder.with_name(f"{folder.name}.log"))
    said.write_text(asked, encoding="utf-8")


def _measured(mending: Mending, name: str, seed: int, run: Run, suite: Path) -> Path:
    """Train and evaluate a run, unless a former call has; return the folder of its result."""
    logs = mending.out / name
    logs.mkdir(parents=True, exist_ok=True)
    if not (name == BASELINE and str(seed) in mending.baselines):
        config = logs / f"seed-{seed}.yaml"
        config.write_text(dump(run), encoding="utf-8")
        run_command(["train", str(config)], log=logs / f"seed-{seed}.train.log")  # a finished run ends at once
    folder = logs / f"seed-{seed}-probed"
    kept = folder / "asked.yaml"
    asked = f"{suite.read_text(encoding='utf-8')}\n# of\n{dump(run)}"
    if not (kept.is_file() and kept.read_text(encoding="utf-8") == asked):
        run_command(
            ["eval", "run", str(run.out), "--suite", str(suite), "--out", str(folder)],
            log=logs / f"seed-{seed}.eval.log",
        )
        kept.write_text(asked, encoding="utf-8")
    return folder
