"""The ``mmcontrast eval`` commands."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcontrast.errors import MissingData
from mmcontrast.evaluate.given_command import add_given_commands

if TYPE_CHECKING:
    from mmcontrast.checkpoint import Weights
    from mmcontrast.evaluate.suite import SuiteResult
    from mmcontrast.specs import Long

PARTIAL = 3  # exit code when something could not be evaluated
TRAINING_ROWS = 300  # rows of metrics.jsonl kept in a result, in even steps


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``eval``."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = commands.add_parser("run", help="evaluate a checkpoint: a table, results.json and report.html")
    add.add_argument(
        "checkpoint",
        help="a run folder (its newest valid checkpoint), one checkpoint in it, open_clip:NAME:WEIGHTS, or hf:FOLDER",
    )
    add.add_argument("--suite", default="quickstart", help="a shipped suite's name, or a YAML file")
    add.add_argument("--weights", choices=["raw", "ema"], default="raw", help="of a run: as trained, or their average")
    add.add_argument("--out", type=Path, help="folder of the results; default: RUN/eval/SUITE, or SUITE-ema")
    add.add_argument(
        "--long", choices=["start", "center", "windows"], help="heard of sounds over the window; default: the tower's"
    )
    add.add_argument("--device", default="cpu", help="torch device of the encoder")
    add.add_argument("--data", type=Path, help="folder from which a suite's relative sources are meant")
    add.add_argument(
        "--cache", type=Path, help="folder where embeddings are kept, under digests of all they depend on"
    )
    add.add_argument("--workers", type=int, default=1, help="threads that decode pictures and sounds")
    add.add_argument("--allow-missing", action="store_true", help="exit with 0 although files or rows are missing")
    add.set_defaults(call=_run)
    add_given_commands(commands)
    add = commands.add_parser("list", help="list shipped suites and their evaluations")
    add.set_defaults(call=_list)
    add = commands.add_parser("report", help="print the table and draw report.html again from results.json")
    add.add_argument("results", type=Path, help="a results.json, or a folder that holds one")
    add.set_defaults(call=_report)
    add = commands.add_parser("table", help="print results of one suite, of one run or several seeds, as Markdown")
    add.add_argument("results", type=Path, nargs="+", help="results.json files, or folders that hold one")
    add.add_argument("--against", type=Path, nargs="+", metavar="RESULTS", help="others, with a column of differences")
    add.set_defaults(call=_table)
    add = commands.add_parser("compare", help="several results side by side, with paired tests and compare.html")
    add.add_argument("results", type=Path, nargs="+", help="results.json files, or folders that hold one")
    add.add_argument("--out", type=Path, help="folder of compare.html; not written if absent")
    add.set_defaults(call=_compare)


def run_command(
    checkpoint: str | Path,
    *,
    suite: str,
    out: Path | None = None,
    device: str = "cpu",
    data: Path | None = None,
    cache: Path | None = None,
    workers: int = 1,
    weights: Weights = "raw",
    long: Long | None = None,
) -> tuple[Path, int]:
    """Evaluate a checkpoint on a suite; return the folder of the results, and how many rows and sets were missing.

    Args:
        long: of a model of ours: what is heard of sounds longer than its window; null: as the tower says.

    Raises:
        ConfigError: no such suite, or one with problems.
        CheckpointError, RunFolderError: nothing usable at ``checkpoint``.
    """
    from mmcontrast.evaluate.checkpoints import open_checkpoint
    from mmcontrast.evaluate.suite import read_suite, run_suite

    name, chosen = read_suite(suite)
    opened = open_checkpoint(str(checkpoint), device=device, weights=weights)
    opened = opened if long is None else opened.hearing(long)
    print(f"evaluating {opened.name} on suite '{name}'", flush=True)
    result = run_suite(
        name,
        chosen,
        opened.encoder,
        untrained=opened.untrained,
        about=opened.about,
        quiet=not sys.stdout.isatty(),
        say=lambda text: print(text, flush=True),
        data=data,
        cache=cache,
        workers=workers,
    )
    return finished(result, out or opened.home / "eval" / (name if weights == "raw" else f"{name}-{weights}"))


def finished(result: SuiteResult, folder: Path) -> tuple[Path, int]:
    """Write a result and its report, and print its table; return the folder, and how many rows and sets are missing.

    Raises:
        MissingData: there is nothing to write.
    """
    from mmcontrast.evaluate.report_html import write_report
    from mmcontrast.evaluate.suite import result_tree, write_result
    from mmcontrast.evaluate.table import print_table

    if not result.reports:
        reasons = "\n".join(f"  {label}: {why}" for label, why in {**result.skipped, **result.absent}.items())
        raise MissingData(f"nothing of suite '{result.name}' could be evaluated:\n{reasons}")
    written = write_result(result, folder)
    tree = result_tree(result)
    page = write_report(tree, folder)
    print_table(tree)
    print(f"results {written}\nreport  {page}")
    return folder, result.partial


def about_run(path: Path, home: Path, run: Any, *, weights: Weights = "raw") -> dict[str, Any]:
    """What a report says of the run behind a checkpoint."""
    from mmcontrast.config import dump
    from mmcontrast.data.manifest import file_sha256

    return {
        "run": home.resolve().name,
        "checkpoint": path.name if weights == "raw" else f"{path.name} (moving average)",
        "weights_sha256": file_sha256(path / ("model.safetensors" if weights == "raw" else "ema.safetensors")),
        "config": dump(run),
        "training": read_training(home / "metrics.jsonl"),
    }


def read_training(path: Path) -> list[dict[str, Any]]:
    """Rows of a metrics.jsonl, thinned out evenly; none when there is no file."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:  # the last line of a run that was cut off, or is still being written
            continue
    step = max(1, -(-len(rows) // TRAINING_ROWS))
    return [row for number, row in enumerate(rows) if number % step == 0 or number == len(rows) - 1]


def _run(parsed: argparse.Namespace) -> int:
    folder, partial = run_command(
        parsed.checkpoint,
        suite=parsed.suite,
        out=parsed.out,
        device=parsed.device,
        data=parsed.data,
        cache=parsed.cache,
        workers=parsed.workers,
        weights=parsed.weights,
        long=parsed.long,
    )
    if partial and not parsed.allow_missing:
        print(f"incomplete: {partial:,} sets or rows are missing, see {folder}/results.json", file=sys.stderr)
        return PARTIAL
    return 0


def _list(parsed: argparse.Namespace) -> int:
    from mmcontrast.evaluate.suite import read_suite, suite_names

    for name in suite_names():
        _, suite = read_suite(name)
        print(name)
        width = max(len(label) for label in suite.evals)
        for label, evaluator in suite.evals.items():
            print(f"  {label:<{width}}  {evaluator.registry_name:<12}  {evaluator.title}")
    return 0


def _report(parsed: argparse.Namespace) -> int:
    from mmcontrast.evaluate.report_html import write_report
    from mmcontrast.evaluate.suite import read_result
    from mmcontrast.evaluate.table import print_table

    path, tree = read_result(parsed.results)
    print_table(tree)
    print(f"report  {write_report(tree, path.parent)}")
    return 0


def _table(parsed: argparse.Namespace) -> int:
    from mmcontrast.evaluate.markdown import against_table, markdown_table

    print(against_table(parsed.results, parsed.against) if parsed.against else markdown_table(parsed.results))
    return 0


def _compare(parsed: argparse.Namespace) -> int:
    from mmcontrast.evaluate.compare import compare_runs, print_comparison, write_comparison

    comparison = compare_runs(parsed.results)
    print_comparison(comparison)
    if parsed.out is not None:
        print(f"comparison  {write_comparison(comparison, parsed.out)}")
    return 0
