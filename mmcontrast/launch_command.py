"""``mmcontrast launch slurm``: write a job script with the numbers asked for, check the config for them, submit it."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mmcontrast.errors import ConfigError, LaunchError


@dataclass(frozen=True)
class SlurmJob:
    """What SLURM is asked for."""

    nodes: int
    gpus_per_node: int  # 0: a job on CPUs, one rank a node unless tasks_per_node says more
    tasks_per_node: int
    time: str  # as SLURM reads it: D-HH:MM:SS, HH:MM:SS or minutes
    cpus_per_task: int
    name: str
    partition: str | None = None
    account: str | None = None

    @property
    def ranks(self) -> int:
        """Processes of the job."""
        return self.nodes * self.tasks_per_node


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = commands.add_parser("slurm", help="render launch/train.sbatch for a config and submit it")
    add.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file")
    add.add_argument("overrides", nargs="*", metavar="key=value", help="dotted.path=value, applied in order")
    add.add_argument("--nodes", type=int, default=1)
    add.add_argument("--gpus-per-node", type=int, default=1, help="0: CPUs only")
    add.add_argument("--tasks-per-node", type=int, help="ranks a node; default: one a GPU")
    add.add_argument("--time", default="24:00:00", help="D-HH:MM:SS, HH:MM:SS or minutes")
    add.add_argument("--cpus-per-task", type=int, default=8)
    add.add_argument("--partition")
    add.add_argument("--account")
    add.add_argument("--dry-run", action="store_true", help="print the script and the command, submit nothing")
    add.set_defaults(call=_slurm)


def render(job: SlurmJob, *, arguments: list[str]) -> str:
    """Return train.sbatch with the job's numbers in its header and the run's arguments as its default ones."""
    text = files("mmcontrast").joinpath("assets/launch/train.sbatch").read_text(encoding="utf-8")
    wanted: dict[str, str | None] = {
        "job-name": job.name,
        "nodes": str(job.nodes),
        "ntasks-per-node": str(job.tasks_per_node),
        "gpus-per-node": str(job.gpus_per_node) if job.gpus_per_node else None,
        "cpus-per-task": str(job.cpus_per_task),
        "time": job.time,
    }
    for key, value in wanted.items():
        line = f"#SBATCH --{key}={value}\n" if value is not None else ""
        text, count = re.subn(rf"^#SBATCH --{key}=.*\n", line, text, flags=re.MULTILINE)
        assert count == 1, f"train.sbatch should have one line for {key}"
    extra = "".join(
        f"#SBATCH --{key}={value}\n"
        for key, value in {"partition": job.partition, "account": job.account}.items()
        if value is not None
    )
    text = text.replace("#SBATCH --requeue\n", f"{extra}#SBATCH --requeue\n")
    return text.replace("set -u\n", f"set -u\n[ $# -gt 0 ] || set -- {shlex.join(arguments)}\n", 1)


def check_job(job: SlurmJob, config: Path, overrides: list[str]) -> Path:
    """Check the config for the job's ranks; return the run folder.

    Raises:
        ConfigError, LaunchError: the config does not read, or does not fit the ranks.
    """
    from mmcontrast.run import load_run

    run = load_run(config, overrides)
    problems = []
    if not re.fullmatch(r"\d+|(\d+-)?\d{1,2}(:\d{2}){1,2}", job.time):
        problems.append(f"--time: '{job.time}' is no time. Expected HH:MM:SS, D-HH:MM:SS or minutes.")
    for name, number in (("--nodes", job.nodes), ("--tasks-per-node", job.tasks_per_node)):
        if number < 1:
            problems.append(f"{name}: {number} is no count.")
    if not problems and run.data.batch_rows % job.ranks:
        problems.append(f"data.batch_rows: {run.data.batch_rows} rows do not divide among {job.ranks} ranks.")
    if job.ranks > 1 and run.engine.registry_name == "local":
        problems.append(f"engine: 'local' is one process, the job has {job.ranks} ranks. Set engine=ddp or deepspeed.")
    if problems:
        raise LaunchError("\n".join(problems))
    return run.out


def _slurm(parsed: argparse.Namespace) -> int:
    tasks = parsed.tasks_per_node if parsed.tasks_per_node is not None else max(1, parsed.gpus_per_node)
    job = SlurmJob(
        nodes=parsed.nodes,
        gpus_per_node=parsed.gpus_per_node,
        tasks_per_node=tasks,
        time=parsed.time,
        cpus_per_task=parsed.cpus_per_task,
        name=f"mmcontrast-{parsed.config.stem}",
        partition=parsed.partition,
        account=parsed.account,
    )
    out = check_job(job, parsed.config, parsed.overrides)
    script = render(job, arguments=[str(parsed.config), *parsed.overrides])
    path = out / "launch" / "train.sbatch"
    if parsed.dry_run:
        print(script, end="")
        print(f"# would be written to {path} and submitted: sbatch {path}")
        return 0
    if shutil.which("sbatch") is None:
        raise LaunchError("there is no 'sbatch' here: submit from a login node of the cluster, or use --dry-run.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write '{path}': {error.strerror}. Set out=FOLDER.") from error
    done = subprocess.run(["sbatch", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LaunchError(f"sbatch refused '{path}': {done.stderr.strip()}")
    print(done.stdout.strip())
    return 0
