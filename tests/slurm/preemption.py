"""Train on two SLURM nodes, requeue in the middle, and compare with a run that nobody stopped.

Run as ``python -m tests.slurm.preemption`` by root; ``make test-slurm`` does.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from mmcontrast.cli import main as mmcontrast
from mmcontrast.config import dump
from mmcontrast.launch_command import SlurmJob, render
from tests.fixtures import make_set
from tests.slurm.cluster import Cluster, missing
from tests.small_run import losses, run_of

STEPS = 60
JOB = SlurmJob(nodes=2, gpus_per_node=0, tasks_per_node=1, time="10:00", cpus_per_task=1, name="preemption")


def submit(cluster: Cluster, folder: Path, name: str, sets: dict[str, str]) -> str:
    """Render train.sbatch as the command line would and submit it; return the job's number."""
    run = run_of(
        sets, folder / name, steps=STEPS, engine={"type": "ddp", "device": "cpu"},
        checkpoint={"every_steps": 25}, log={"every_steps": 1, "tensorboard": False},
    )  # fmt: skip
    config = folder / f"{name}.yaml"
    config.write_text(dump(run))
    script = folder / f"{name}.sbatch"
    script.write_text(render(JOB, arguments=[str(config)]))
    shown = cluster.call(
        "sbatch", "--parsable", f"--chdir={folder}", f"--output={folder}/{name}-job.txt",
        f"--export=ALL,PYTHON={sys.executable},LOGS={folder}/{name}-logs,OMP_NUM_THREADS=1", str(script),
    )  # fmt: skip
    return shown.strip()


def wait(cluster: Cluster, job: str, folder: Path, name: str, *, until: int, seconds: float = 240) -> None:
    """Wait for the run's metrics to reach a step, or for the job's end when ``until`` is the last one."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        state = cluster.field(job, "JobState")
        reached = max(losses(folder / name), default=0) if (folder / name / "metrics.jsonl").is_file() else 0
        if (until < STEPS and reached >= until) or (until == STEPS and state == "COMPLETED"):
            return
        if state in ("FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"):
            break
        if state == "PENDING" and cluster.field(job, "Restarts") != "0":
            # SLURM holds a requeued job back for two minutes.
            cluster.call("scontrol", "update", f"jobid={job}", "starttime=now", check=False)
        time.sleep(0.5)
    logs = "".join(f"== {path}\n{path.read_text()[-3000:]}" for path in sorted(folder.glob(f"{name}-*/*.txt")))
    said = (folder / f"{name}-job.txt").read_text()
    raise AssertionError(f"job {job} of {name}: {state} at step {reached}\n{said}{logs}")


def weights_sha256(run: Path) -> str:
    """Checksum of the last checkpoint's weights."""
    return hashlib.sha256((run / f"checkpoints/step-{STEPS:08d}/model.safetensors").read_bytes()).hexdigest()


def preempt(folder: Path) -> None:
    """The whole story; asserts its claims and prints them."""
    sets = {
        "pictures": make_set(folder / "pictures", columns=("image", "text"), rows=32),
        "sounds": make_set(folder / "sounds", columns=("audio", "text"), rows=20),
    }
    with Cluster(folder / "slurm") as cluster:
        print(cluster.call("sinfo", "-N", "-o", "%N %t"), end="")
        whole = submit(cluster, folder, "whole", sets)
        wait(cluster, whole, folder, "whole", until=STEPS)
        job = submit(cluster, folder, "parts", sets)
        wait(cluster, job, folder, "parts", until=10)
        cluster.call("scancel", "-b", "--signal=USR1", job)
        wait(cluster, job, folder, "parts", until=STEPS)
        restarts = cluster.field(job, "Restarts")
    said = (folder / "parts-logs/rank-0.txt").read_text()
    assert restarts == "1", restarts
    assert said.count("the same command resumes") == 1 and "training from step 0 of" in said, said
    again = next(line for line in reversed(said.splitlines()) if line.startswith("training from step"))
    assert 10 <= int(again.split()[3]) < STEPS, again
    assert losses(folder / "parts") == losses(folder / "whole")
    assert weights_sha256(folder / "parts") == weights_sha256(folder / "whole")
    assert mmcontrast(["checkpoint", "verify", str(folder / "parts")]) == 0
    print((folder / "parts-job.txt").read_text(), end="")
    print(f"requeued once; {again}; {STEPS} losses equal; sha256 of weights equal: {weights_sha256(folder / 'parts')}")


def main() -> int:
    """Exit code 0: seen to work; 2: it cannot be tried here."""
    lacking = missing()
    if lacking or os.geteuid() != 0:
        print(f"needs root, and Debian's slurmctld slurmd slurm-client munge; lacking: {', '.join(lacking) or 'root'}")
        return 2
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that the cluster is torn down then, too
    # Next to no path may be long: munge's socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        preempt(Path(folder))
    print(f"passed in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
