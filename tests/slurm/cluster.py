"""A SLURM cluster of two nodes on this machine: real slurmctld, slurmd and munge, in a scratch folder.

Needs root and Debian's packages slurmctld, slurmd, slurm-client and munge.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from tests.ports import free_ports

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged", "munge")

CONF = """ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobRequeue=1
MpiDefault=none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_1} CPUs=1 RealMemory=1000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_2} CPUs=1 RealMemory=1000
PartitionName=debug Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """Programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Cluster:
    """Two idle nodes inside the ``with`` block; nothing of them after it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "MASTER_ADDR": "127.0.0.1"}
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Cluster:
        for name in ("state", "spool-n1", "spool-n2"):
            (self.folder / name).mkdir(parents=True)
        ports = free_ports(3)
        names = {"host": socket.gethostname().split(".")[0], "folder": self.folder}
        (self.folder / "slurm.conf").write_text(CONF.format(**names, port=ports[0], port_1=ports[1], port_2=ports[2]))
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        try:
            # In the foreground and by our own hand: what we start, and nothing else, is ended.
            kinds = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
            paths = [f"--{name}={self.folder}/munge.{ending}" for name, ending in kinds.items()]
            self._start("munged", "--foreground", "--force", *paths)
            self._wait_for((self.folder / "munge.socket").exists, "munged")
            self._start("slurmctld", "-D")
            self._start("slurmd", "-D", "-N", "n1")
            self._start("slurmd", "-D", "-N", "n2")
            self._wait_for(self._idle, "two nodes")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Jobs first: a step outlives the daemons that could end it.
        self.call("scancel", "--signal=KILL", "--full", "--user=root", check=False)
        self.call("scancel", "--user=root", check=False)
        limit = time.monotonic() + 30
        while self.call("squeue", "-h", check=False).strip() and time.monotonic() < limit:
            time.sleep(0.3)
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._processes):
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def call(self, *command: str, check: bool = True) -> str:
        """Run a client program; return what it prints.

        Raises:
            subprocess.CalledProcessError: it fails.
        """
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def field(self, job: str, name: str) -> str:
        """One field of ``scontrol show job``."""
        shown = self.call("scontrol", "show", "job", job, "-o").split()
        return next((word.partition("=")[2] for word in shown if word.startswith(f"{name}=")), "")

    def _idle(self) -> bool:
        return self.call("sinfo", "-h", "-o", "%t %D", check=False).strip() == "idle 2"

    def _start(self, *command: str) -> None:
        log = (self.folder / f"start-{len(self._processes)}.log").open("wb")
        self._processes.append(
            subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        )
        log.close()

    def _wait_for(self, ready: Callable[[], bool], what: str, seconds: float = 40) -> None:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if ready():
                return
            time.sleep(0.3)
        logs = "".join(path.read_text(errors="replace")[-1500:] for path in sorted(self.folder.glob("*.log")))
        raise AssertionError(f"{what}: not ready within {seconds:g} s\n{logs}")
