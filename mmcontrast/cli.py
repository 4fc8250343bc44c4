"""The ``mmcontrast`` command: each subcommand reads its arguments and calls one function."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from mmcontrast.errors import ConfigError, MMContrastError, did_you_mean

EXAMPLES = """examples:
  mmcontrast train configs/quickstart.yaml                    train; the same command resumes
  mmcontrast train configs/quickstart.yaml optimizer.lr=1e-3 out=runs/lr1e-3
  mmcontrast train configs/quickstart.yaml --print-config     the resolved config, nothing run
  mmcontrast check configs/quickstart.yaml                    every check that needs no weights
  mmcontrast plan configs/quickstart.yaml --gpus 64           memory and batch of each rank, under every engine
  mmcontrast data index shards/                               index tars made by others; check every header
  mmcontrast eval run runs/quickstart --suite quickstart      table, results.json and report.html
  mmcontrast probe make order --from data/coco-test --out probes/coco-order
  mmcontrast export runs/quickstart towers/quickstart         towers for mmcontrast.load, ONNX, open_clip and others
  mmcontrast import clip/ --from hf-clip --out towers/clip    a checkpoint of another package as one of ours
  mmcontrast list towers                                      what can be named in a config
"""

KINDS = {
    "towers": "mmcontrast.towers:TOWERS",
    "heads": "mmcontrast.heads:HEADS",
    "geometries": "mmcontrast.geometry:GEOMETRIES",
    "objectives": "mmcontrast.objectives:OBJECTIVES",
    "combiners": "mmcontrast.combine:COMBINERS",
    "tokenizers": "mmcontrast.tokenizers:TOKENIZERS",
    "front_ends": "mmcontrast.front_ends:FRONT_ENDS",
    "derivations": "mmcontrast.data.derivations:DERIVATIONS",
    "optimizers": "mmcontrast.optim:OPTIMIZERS",
    "schedules": "mmcontrast.optim:SCHEDULES",
    "engines": "mmcontrast.engines:ENGINES",
    "steps": "mmcontrast.steps:STEPS",
    "evaluators": "mmcontrast.evaluate:EVALUATORS",
    "probes": "mmcontrast.probes:MAKERS",
    "taggers": "mmcontrast.language.taggers:TAGGERS",
    "exports": "mmcontrast.export:EXPORTS",
    "downstream": "mmcontrast.downstream:DOWNSTREAM",
    "importers": "mmcontrast.importers:IMPORTERS",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 2 for a user's mistake, 76 for a lost rank, 130 for ctrl-C."""
    parsed = parser().parse_args(arguments)
    try:
        return int(parsed.call(parsed) or 0)
    except MMContrastError as error:
        from mmcontrast import comm

        if not error.on_every_rank or comm.launch().rank == 0:
            print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has left, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def command() -> NoReturn:
    """The console script: ``main``, then the end of the process."""
    code: str | int | None
    try:
        code = main()
    except SystemExit as end:  # of argparse, and of a rank that leaves because another one is lost
        code = end.code
    if isinstance(code, int) and "mmcontrast.comm" in sys.modules:
        from mmcontrast import comm

        comm.end_process(code)
    sys.exit(code)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="mmcontrast",
        description="Pretrain CLIP, CLAP and tri-modal models, and measure them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    add = commands.add_parser("train", help="train the run that a config describes")
    _config_arguments(add)
    add.add_argument("--print-config", action="store_true", help="print the resolved config and stop")
    add.set_defaults(call=_train)
    add = commands.add_parser("check", help="check a config against its data, without weights")
    _config_arguments(add)
    add.set_defaults(call=_check)
    add = commands.add_parser("plan", help="reckon memory and batch of each rank, under every engine")
    from mmcontrast.plan.command import add_arguments

    add_arguments(add)
    add = commands.add_parser(
        "verify-gradients", help="compare a run's own step with one process that holds the whole batch"
    )
    _config_arguments(add)
    add.set_defaults(call=_verify_gradients)
    add = commands.add_parser("compare", help="train a list of objectives under one setup and report on them")
    _config_arguments(add)
    add.set_defaults(call=_compare)
    add = commands.add_parser("mend", help="probe a baseline, train it on what it misses, probe again, report")
    _config_arguments(add)
    add.set_defaults(call=_mend)
    add = commands.add_parser("list", help="list what can be named in a config")
    add.add_argument("kind", metavar="KIND", nargs="?", help=f"one of: {', '.join(KINDS)}")
    add.set_defaults(call=_list)
    _add_commands_of_packages(commands)
    return top


def _add_commands_of_packages(commands: Any) -> None:
    """Commands that have arguments of their own, each from the package that runs it."""
    checkpoints = commands.add_parser("checkpoint", help="list, verify and consolidate checkpoints")
    from mmcontrast.checkpoint_command import add_commands as add_checkpoint_commands

    add_checkpoint_commands(checkpoints)
    launching = commands.add_parser("launch", help="write and submit job scripts")
    from mmcontrast.launch_command import add_commands as add_launch_commands

    add_launch_commands(launching)
    evaluation = commands.add_parser("eval", help="evaluate a checkpoint, compare results, draw reports")
    from mmcontrast.evaluate.command import add_commands

    add_commands(evaluation)
    probing = commands.add_parser("probe", help="make frozen probes of order, swaps, negation, time and layout")
    from mmcontrast.probes.command import add_commands as add_probe_commands

    add_probe_commands(probing)
    exporting = commands.add_parser("export", help="write towers for other packages, checked through them")
    from mmcontrast.export.command import add_arguments as add_export_arguments

    add_export_arguments(exporting)
    importing = commands.add_parser("import", help="read a checkpoint of another package, checked through it")
    from mmcontrast.importers.command import add_arguments as add_import_arguments

    add_import_arguments(importing)
    embedding = commands.add_parser("embed", help="embed every row of shards or of a folder into files")
    from mmcontrast.export.embed_command import add_arguments as add_embed_arguments

    add_embed_arguments(embedding)
    downstream = commands.add_parser("head", help="train, measure and use small models on frozen embeddings")
    from mmcontrast.downstream.command import add_commands as add_head_commands

    add_head_commands(downstream)
    from mmcontrast.widths.command import add_arguments as add_widths_arguments

    add_widths_arguments(commands.add_parser("widths", help="accuracy, bytes and speed of shorter embeddings"))
    from mmcontrast.search.commands import add_commands as add_search_commands

    add_search_commands(commands)
    from mmcontrast.explain.command import add_command as add_explain_command

    add_explain_command(commands)
    data = commands.add_parser("data", help="index shards, show what a set holds, verify every byte")
    from mmcontrast.data.command import add_commands as add_data_commands

    add_data_commands(data)


def _config_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file")
    add.add_argument("overrides", nargs="*", metavar="key=value", help="dotted.path=value, applied in order")


def _train(parsed: argparse.Namespace) -> int:
    from mmcontrast.config import dump
    from mmcontrast.run import load_run

    run = load_run(parsed.config, parsed.overrides)
    if parsed.print_config:
        print(dump(run), end="")
        return 0
    from mmcontrast.train import train

    return train(run).exit_code


def _check(parsed: argparse.Namespace) -> int:
    from mmcontrast.evaluate.while_training import check_evals
    from mmcontrast.run import check, load_run
    from mmcontrast.start import check_start

    run = load_run(parsed.config, parsed.overrides)
    for line in [*check(run), *check_start(run.model), *check_evals(run)]:
        print(line)
    print("nothing wrong found")
    return 0


def _compare(parsed: argparse.Namespace) -> int:
    from mmcontrast.comparison.command import compare

    print(f"report  {compare(parsed.config, parsed.overrides)}")
    return 0


def _mend(parsed: argparse.Namespace) -> int:
    from mmcontrast.mending.command import mend

    print(f"report  {mend(parsed.config, parsed.overrides)}")
    return 0


def _verify_gradients(parsed: argparse.Namespace) -> int:
    from mmcontrast import comm
    from mmcontrast.run import load_run
    from mmcontrast.verify_gradients import TOLERANCE, in_words, verify_gradients

    found = verify_gradients(load_run(parsed.config, parsed.overrides))
    if comm.rank() == 0:
        print("\n".join(in_words(found)))
    comm.stop()
    return 0 if all(each.largest <= TOLERANCE for each in found.differences) else 2


def _list(parsed: argparse.Namespace) -> int:
    if parsed.kind is None:
        print("\n".join(KINDS))
        return 0
    if parsed.kind not in KINDS:
        raise ConfigError(
            f"nothing is listed under '{parsed.kind}'.{did_you_mean(parsed.kind, KINDS)} Known: {', '.join(KINDS)}."
        )
    import importlib

    module, _, name = KINDS[parsed.kind].partition(":")
    registry = getattr(importlib.import_module(module), name)
    width = max(len(each) for each in registry.names())
    for each in registry.names():
        summary = (registry.get(each).__doc__ or "").strip().split("\n")[0]
        print(f"{each:<{width}}  {summary}")
    return 0
