"""Launchers, the meeting of ranks, and mistakes that only one rank can see."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mmcontrast import comm
from mmcontrast.errors import ConfigError, LaunchError, MMContrastError
from mmcontrast.rendezvous import Launch, first_host, launch
from tests.dist.pool import on_ranks
from tests.ports import free_port

TORCHRUN = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}
SLURM = {"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8"}


def variables(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name in (*TORCHRUN, *SLURM, "SLURM_STEP_ID", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_ranks_come_from_torchrun_or_srun_and_not_from_a_batch_script(monkeypatch: pytest.MonkeyPatch) -> None:
    for values, expected in (
        ({}, Launch(0, 0, 1)),
        (TORCHRUN, Launch(1, 1, 4)),
        (SLURM | {"SLURM_STEP_ID": "0"}, Launch(3, 1, 8)),
        (SLURM, Launch(0, 0, 1)),
        (SLURM | {"SLURM_STEP_ID": "0"} | TORCHRUN, Launch(1, 1, 4)),
    ):
        variables(monkeypatch, values)
        assert launch() == expected


@pytest.mark.parametrize("broken", [{"RANK": "4"}, {"RANK": "first"}])
def test_impossible_launcher_variables_are_refused(monkeypatch: pytest.MonkeyPatch, broken: dict[str, str]) -> None:
    variables(monkeypatch, TORCHRUN | broken)
    with pytest.raises(LaunchError, match=f"RANK={broken['RANK']}"):
        launch()


@pytest.mark.parametrize(
    ("nodes", "host"), [("n1", "n1"), ("n[1-2]", "n1"), ("gpu-[003-005,9],cpu1", "gpu-003"), ("a,b", "a")]
)
def test_the_first_host_of_a_slurm_list(nodes: str, host: str) -> None:
    assert first_host(nodes) == host


def test_a_missing_rank_is_one_error_within_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    variables(monkeypatch, {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                            "MASTER_PORT": str(free_port())})  # fmt: skip
    with pytest.raises(
        LaunchError, match=r"rank 0 of 2 did not meet the others at 127\.0\.0\.1.*: rank 1 did not come"
    ):
        comm.start(torch.device("cpu"), timeout_seconds=60, meet_seconds=2)


def test_a_port_in_use_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        variables(monkeypatch, {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                                "MASTER_PORT": str(taken.getsockname()[1])})  # fmt: skip
        with pytest.raises(LaunchError, match="MASTER_PORT free"):
            comm.start(torch.device("cpu"), timeout_seconds=60, meet_seconds=2)


def test_a_stranger_who_listens_and_says_nothing_is_one_error() -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        call = "comm.start(torch.device('cpu'), timeout_seconds=60, meet_seconds=1)"
        program = f"import torch; from mmcontrast import comm; {call}"
        environment = {**os.environ, "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                       "MASTER_PORT": str(stranger.getsockname()[1])}  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == 2, done.stderr
    assert "does not answer. Were all ranks started, is MASTER_ADDR reachable and MASTER_PORT free?" in done.stderr


PROGRAM = """
import torch
from mmcontrast import cli, comm
from mmcontrast.errors import LaunchError
try:
    comm.start(torch.device("cpu"), timeout_seconds=60, meet_seconds=8)
except LaunchError as error:
    print(error)
    raise SystemExit(error.exit_code)
print("met")
comm.end_process(0)
"""


def come(ranks: list[int], world_size: int) -> list[tuple[int, str, float]]:
    """Start some ranks of a job; return their exit codes, what they said, and after how long the last had ended."""
    address = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    began = time.monotonic()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True,
            env={**os.environ, **address, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in ranks
    ]  # fmt: skip
    said = [process.communicate(timeout=60)[0] for process in processes]
    return [
        (process.returncode, text, time.monotonic() - began) for process, text in zip(processes, said, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "words"),
    [
        ([0, 1, 3], ["rank 2 did not come"] * 3),
        ([0, 2], ["ranks 1, 3 did not come"] * 2),
        ([1, 2, 3], ["did not meet the others"] * 3),  # nobody keeps the list
        ([0, 1, 2, 3], ["met"] * 4),
    ],
)
def test_every_rank_that_came_names_those_that_did_not(ranks: list[int], words: list[str]) -> None:
    ended = come(ranks, 4)
    for (code, text, seconds), expected in zip(ended, words, strict=True):
        assert code == (0 if expected == "met" else 2) and expected in text and seconds < 40, ended


def one_rank_fails() -> list[str]:
    seen = []
    for failing in ((1,), (0, 1), ()):
        try:
            with comm.together():
                if comm.rank() in failing:
                    raise ConfigError("no shards here")
            seen.append("fine")
        except MMContrastError as error:
            assert error.on_every_rank
            seen.append(str(error))
    return seen


def test_a_mistake_on_one_rank_ends_all_of_them(tmp_path: Path) -> None:
    for seen in on_ranks(one_rank_fails, 2, tmp_path):
        assert seen == ["rank 1: no shards here", "no shards here", "fine"]


def alone() -> list[int]:
    with comm.alone():
        inside = [comm.rank(), comm.world_size(), len(comm.gather(torch.ones(3)))]
    return [*inside, comm.rank(), comm.world_size(), len(comm.gather(torch.ones(3)))]


def test_alone_a_rank_is_the_only_one(tmp_path: Path) -> None:
    assert on_ranks(alone, 2, tmp_path) == [[0, 1, 3, 0, 2, 6], [0, 1, 3, 1, 2, 6]]


ENDING = """
import atexit, sys, torch.distributed as dist
from mmcontrast import cli, comm
class Last:
    def __del__(self):
        print("the interpreter ended")
last = Last()
atexit.register(print, "at exit")
def joined():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    print("said", end="")
    return 75
cli.main = joined if sys.argv[1] == "joined" else lambda: 75
cli.command()
"""


@pytest.mark.parametrize(("who", "end"), [("joined", ""), ("alone", "the interpreter ended\n")])
def test_a_process_that_joined_others_ends_before_the_interpreter_does(who: str, end: str) -> None:
    done = subprocess.run([sys.executable, "-c", ENDING, who], capture_output=True, text=True, check=False)
    assert done.returncode == 75, done.stderr
    assert done.stdout == ("said" if who == "joined" else "") + "at exit\n" + end
