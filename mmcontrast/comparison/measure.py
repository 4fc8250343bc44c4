"""One run of a comparison: trained and evaluated by the command line, in processes of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from mmcontrast.config import dump
from mmcontrast.errors import MMContrastError
from mmcontrast.run import Run

SPACE = ("alignment ", "gap ", "uniformity ", "effective rank ")  # of the embeddings, beside what they are good for


def measured(run: Run, suite: str) -> dict[str, float]:
    """Train and evaluate a run, unless a former call has; return its numbers by name.

    The run's folder keeps what the processes said, as ``train.log`` and ``eval.log``.

    Raises:
        MMContrastError: a process failed; the message holds its last line and where to read the rest.
    """
    kept = run.out / "measured.json"
    described = dump(run)
    if kept.is_file():
        saved = json.loads(kept.read_text(encoding="utf-8"))
        if saved.get("run") == described and saved.get("suite") == suite:
            return dict(saved["numbers"])
    run.out.parent.mkdir(parents=True, exist_ok=True)
    written = run.out.parent / f"{run.out.name}.yaml"
    written.write_text(described, encoding="utf-8")
    resumed = (run.out / "checkpoints").is_dir()
    cost = run_command(["train", str(written)], log=run.out.parent / f"{run.out.name}.train.log")
    if resumed:
        del cost["CPU seconds"]  # what the part before took is not known
    folder = run.out / "eval" / Path(suite).stem
    run_command(
        ["eval", "run", str(run.out), "--suite", suite, "--out", str(folder)],
        log=run.out.parent / f"{run.out.name}.eval.log",
    )
    numbers = {**scores(folder), **speed(run.out / "metrics.jsonl"), **cost}
    text = json.dumps({"run": described, "suite": suite, "numbers": numbers}, indent=1)
    kept.write_text(text + "\n", encoding="utf-8")
    return numbers


def run_command(arguments: list[str], *, log: Path) -> dict[str, float]:
    """Run ``mmcontrast`` with these arguments; return its CPU seconds and the peak of its resident memory in MiB.

    Raises:
        MMContrastError: it failed; the message holds its last line and where to read the rest.
    """
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module, no shell
            [sys.executable, "-m", "mmcontrast", *arguments], stdout=stream, stderr=subprocess.STDOUT
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except KeyboardInterrupt:
            process.wait()  # it has the signal too, and saves
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
        how = f"exit code {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        raise MMContrastError(f"'mmcontrast {' '.join(arguments)}' ended with {how}: {lines[-1]}\nAll of it: {log}")
    # Seconds a step are those of the clock, which others on the machine stretch; CPU seconds hardly.
    return {"CPU seconds": usage.ru_utime + usage.ru_stime, "peak MiB": usage.ru_maxrss / 1024}  # Linux counts in KiB


def scores(folder: Path) -> dict[str, float]:
    """Each evaluator's primary metric, and the measures of the space, which evaluators state as metrics or facts."""
    from mmcontrast.evaluate.suite import read_result

    _, tree = read_result(folder)
    found: dict[str, float] = {}
    for name, report in tree["evaluators"].items():
        found[f"{name}: {report['primary']}"] = report["metrics"][report["primary"]]["value"]
        stated = report["facts"] | {key: metric["value"] for key, metric in report["metrics"].items()}
        for key, value in stated.items():
            if key.startswith(SPACE) and isinstance(value, (int, float)):
                found[f"{name}: {key}"] = float(value)
    return found


def speed(metrics: Path) -> dict[str, float]:
    """Median seconds per step of the log's rows after the first, and the last loss."""
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    timed = [row["seconds_per_step"] for row in rows[1:] or rows]
    return {"seconds per step": statistics.median(timed), "last loss": rows[-1]["loss"]}
