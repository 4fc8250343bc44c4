"""The ``mmcontrast eval`` commands."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``eval``."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = commands.add_parser("run", help="evaluate a checkpoint: a table, results.json and report.html")
    add.add_argument("checkpoint", type=Path, help="a run folder (its newest valid checkpoint) or one checkpoint in it")
    add.add_argument("--suite", default="quickstart", help="a shipped suite's name, or a YAML file")
    add.add_argument("--out", type=Path, help="folder of the results; default: RUN/eval/SUITE")
    add.add_argument("--device", default="cpu", help="torch device of the encoder")
    add.set_defaults(call=_run)
    add = commands.add_parser("list", help="list shipped suites")
    add.set_defaults(call=_list)
    add = commands.add_parser("compare", help="several results side by side: a table of values and differences")
    add.add_argument("results", type=Path, nargs="+", help="results.json files, or folders that hold one")
    add.set_defaults(call=_compare)


def _run(parsed: argparse.Namespace) -> int:
    from mmcontrast import checkpoint
    from mmcontrast.data.manifest import file_sha256
    from mmcontrast.evaluate.encoder import load_encoder, untrained_encoder
    from mmcontrast.evaluate.report_html import write_report
    from mmcontrast.evaluate.suite import read_suite, run_suite, write_result
    from mmcontrast.evaluate.table import print_table
    from mmcontrast.run_folder import read_run_folder

    name, suite = read_suite(parsed.suite)
    path = checkpoint.find(parsed.checkpoint)
    home = path.parent.parent
    run = read_run_folder(home)
    about = {"checkpoint": path.name, "weights_sha256": file_sha256(path / "model.safetensors")}
    print(f"evaluating {path} on suite '{name}'", flush=True)
    result = run_suite(
        name,
        suite,
        load_encoder(path, device=parsed.device),
        untrained=untrained_encoder(run.model, seed=run.seed + 1),
        about=about,
        say=lambda text: print(text, flush=True),
    )
    out = parsed.out or home / "eval" / name
    written = write_result(result, out)
    page = write_report(result, home, out)
    print_table(result)
    print(f"results {written}\nreport  {page}")
    return 0


def _list(parsed: argparse.Namespace) -> int:
    from mmcontrast.evaluate.suite import read_suite, suite_names

    for name in suite_names():
        _, suite = read_suite(name)
        print(f"{name}: {', '.join(suite.evals)}")
    return 0


def _compare(parsed: argparse.Namespace) -> int:
    from mmcontrast.evaluate.compare import print_comparison

    print_comparison(parsed.results)
    return 0
