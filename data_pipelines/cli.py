"""The ``mmcontrast-data`` command: run a job, see where it stands, list what there is."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
from pathlib import Path
from typing import Any

from data_pipelines.job import JOBS, build_job
from data_pipelines.runner import Share, log_to_stderr, run_job
from data_pipelines.settings_page import first_line, settings_page
from data_pipelines.workspace import read_identity
from mmcontrast.config import apply_overrides, parse, read_tree
from mmcontrast.errors import ConfigError, MMContrastError

EXAMPLES = """examples:
  mmcontrast-data list                                   every job
  mmcontrast-data list filter                            a job's settings and examples (also: run filter --help)
  mmcontrast-data list filter silence                    one filter's settings
  mmcontrast-data run pack out=data/pets reader.type=folder reader.folder=pictures
  mmcontrast-data run filter out=data/pets-long source=data/pets filters.short.type=caption_length
  mmcontrast-data run dedup dedup.yaml --processes 8     settings from a file; the same command resumes
  mmcontrast-data run dedup dedup.yaml --task slurm      in a script of `sbatch --array=0-15`: one member's share
  mmcontrast-data run dedup dedup.yaml --task 3/16       the same by hand, or under another scheduler
  mmcontrast-data status data/pets-long
"""

REFUSED_BY_SYSTEM = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
    errno.ESTALE,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code.

    Returns:
        0 done, 1 done and something was found (verify), 2 a user's mistake, 75 other shares are not done, 130 ctrl-C.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if len(words) > 2 and words[0] == "run" and words[1] in JOBS.names() and {"-h", "--help"} & set(words[2:]):
        words = ["list", words[1]]
    parsed = parser().parse_args(words)
    log_to_stderr()
    try:
        return int(parsed.call(parsed))
    except MMContrastError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in ("", "mmcontrast", "data_pipelines"):
            raise
        print(f"error: this job needs the package {package}: pip install 'mmcontrast[pipelines]'.", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in REFUSED_BY_SYSTEM:
            raise
        print(f"error: {_said_by_system(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        return 130


def _said_by_system(error: OSError) -> str:
    where = f" ('{error.filename}')" if error.filename else ""
    what = os.strerror(error.errno or 0)
    return f"{what}{where}. What is finished is kept: once that is mended, the same command goes on."


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="mmcontrast-data",
        description="Prepare data sets: every job resumes by itself and is the same bytes on any number of processes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    add = commands.add_parser(
        "run",
        help="run a job, or what is left of it",
        epilog=f"{EXAMPLES}  mmcontrast-data run pack --help                       the settings of one job\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add.add_argument("job", metavar="JOB", help="a name of `list`")
    add.add_argument("settings", nargs="*", metavar="FILE.yaml|key=value", help="a config, then dotted.path=value")
    add.add_argument("--processes", type=int, default=_cores(), help="that run tasks at once (default: all cores)")
    add.add_argument(
        "--task", metavar="I/N|slurm", default="0/1", help="run tasks I, I+N... of every step; slurm: the array says"
    )
    add.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="for other members, between steps")
    add.set_defaults(call=_run)
    add = commands.add_parser("status", help="show how far a job is")
    add.add_argument("folder", type=Path, metavar="OUT")
    add.set_defaults(call=_status)
    add = commands.add_parser("list", help="list the jobs, or one job's settings")
    add.add_argument("job", metavar="JOB", nargs="?")
    add.add_argument("component", metavar="NAME", nargs="?", help="a reader, filter, signature... of that job")
    add.set_defaults(call=_list)
    return top


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _run(parsed: argparse.Namespace) -> int:
    share = _share(parsed.task)
    if parsed.processes < 1:
        raise ConfigError(f"--processes {parsed.processes}: expected 1 or more.")
    settings = list(parsed.settings)
    tree: dict[str, Any] = {}
    if settings and "=" not in settings[0]:
        tree = read_tree(Path(settings.pop(0)))
    config: Any = parse(JOBS.get(parsed.job).Config, apply_overrides(tree, settings), where=parsed.job)
    code = run_job(parsed.job, config, processes=parsed.processes, share=share, wait_seconds=parsed.wait)
    report = Path(config.out) / "report.html"
    if code in (0, 1) and report.is_file():
        print(_summary(Path(config.out)))
        print(f"report: {report}")
    return code


def _share(task: str) -> Share:
    """What --task says, or the place in a SLURM array whatever its numbers begin with.

    Raises:
        ConfigError: neither I/N nor slurm, slurm outside an array, or an array with gaps.
    """
    if task == "slurm":
        names = [f"SLURM_ARRAY_TASK_{each}" for each in ("ID", "MIN", "MAX", "COUNT")]
        if missing := [name for name in names if not os.environ.get(name, "").isdigit()]:
            raise ConfigError(f"--task slurm: {missing[0]} is not set. Submit with sbatch --array=0-15, or give I/N.")
        number, low, high, count = (int(os.environ[name]) for name in names)
        if high - low + 1 != count:
            raise ConfigError(f"--task slurm: an array of {count} from {low} to {high} has gaps: use 0-{count - 1}.")
        return Share(index=number - low, of=count)
    match = re.fullmatch(r"(\d+)/(\d+)", task)
    if match is None:
        raise ConfigError(f"--task {task}: expected I/N, as in 3/16, or slurm.")
    return Share(index=int(match[1]), of=int(match[2]))


def _summary(folder: Path) -> str:
    import json

    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    lines = ["  ".join(f"{name}: {number:,}" for name, number in report["counts"].items())]
    for title, table in report["tables"].items():
        lines += [f"{title}:", *(f"  {value:>12}  {name}" for name, value in list(table.items())[:12])]
    return "\n".join(lines)


def _status(parsed: argparse.Namespace) -> int:
    known = read_identity(parsed.folder)
    cls = JOBS.get(known["job"])
    job = build_job(known["job"], parse(cls.Config, known["config"] | {"out": str(parsed.folder)}))
    print(f"{known['job']} in {parsed.folder}")
    for step in job.steps():
        markers = job.workspace.markers(step.name)
        try:
            total = step.num_tasks()
        except (FileNotFoundError, MMContrastError):  # decided by a step that is not done
            print(f"  {step.name:<12} waits for the steps before it")
            continue
        done = sum(job.workspace.is_done(step.name, task) for task in range(total))
        seconds = sum(marker["seconds"] for marker in markers)
        print(f"  {step.name:<12} {done:>6,} of {total:,} tasks  {seconds:>8.1f} task-seconds")
    finished = (parsed.folder / "report.json").is_file()
    print("finished" if finished else "not finished: the command that started it resumes it")
    return 0


def _list(parsed: argparse.Namespace) -> int:
    if parsed.job is None:
        for name in JOBS.names():
            print(f"{name:<12} {first_line(JOBS.get(name))}")
        return 0
    print(settings_page(parsed.job, parsed.component))
    return 0


if __name__ == "__main__":
    sys.exit(main())
