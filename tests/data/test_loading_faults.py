"""Shards that change under a run, workers that are killed: one clear outcome each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mmcontrast.config import dump, parse
from mmcontrast.data.indexing import index_set
from mmcontrast.data.loader import DataConfig, Loader
from mmcontrast.errors import ShardError
from mmcontrast.specs import InputSpec
from tests.data.test_loader import SPECS
from tests.fixtures import make_set
from tests.small_run import losses, run_of, tree

PAIR: dict[str, InputSpec] = {name: SPECS[name] for name in ("image", "text")}


def a_loader(manifest: str, **fields: Any) -> Loader:
    tree = {"sources": {"set": {"manifest": manifest}}, "batch_rows": 6, "workers": 0, **fields}
    loader = Loader(parse(DataConfig, tree), seed=0, specs=PAIR)
    loader.seek(0, last=8)
    return loader


def swap_halves(shard: Path) -> None:
    """Overwrite a shard in place: the same size, other rows at every offset."""
    content = shard.read_bytes()
    middle = len(content) // 1024 * 512
    with shard.open("rb+") as stream:
        stream.write(content[middle:] + content[:middle])


@pytest.mark.parametrize("indexed", [True, False])
def test_a_shard_that_changes_in_mid_epoch_never_gives_another_rows_content(tmp_path: Path, indexed: bool) -> None:
    manifest = make_set(tmp_path / "set", columns=("image", "text"), rows=24)
    if indexed:
        index_set(manifest)
    else:
        (tmp_path / "set/index.bin").unlink(missing_ok=True)
    loader = a_loader(manifest, storage={"on_shard_error": "substitute", "retries": 0})
    before = [next(loader), next(loader)]
    shard = tmp_path / "set/set-000001.tar"
    swap_halves(shard)
    after = list(loader)
    assert not [row for loaded in before for row in loaded.bad]
    assert not [key for loaded in after for key in loaded.batch.keys if shard.name in key]
    causes = {row.cause for row in loader.take_bad()}
    assert causes == ({"crc32"} if indexed else {"shard_unreadable"})


@pytest.mark.parametrize("workers", [0, 1])
def test_a_changed_shard_without_an_index_ends_the_run_in_one_message(tmp_path: Path, workers: int) -> None:
    manifest = make_set(tmp_path / "set", columns=("image", "text"), rows=24)
    (tmp_path / "set/index.bin").unlink(missing_ok=True)
    loader = a_loader(manifest, storage={"retries": 0}, workers=workers)
    swap_halves(tmp_path / "set/set-000001.tar")
    with pytest.raises(ShardError, match="has changed since its headers were read") as caught:
        list(loader)
    assert "Traceback" not in str(caught.value)


@pytest.mark.slow
def test_a_killed_worker_ends_the_run_in_one_message_and_the_same_command_goes_on(
    sets: dict[str, str], tmp_path: Path
) -> None:
    config = endless(sets, tmp_path)
    killed = started(config)
    reached = past_step(tmp_path / "run", 10, killed)
    os.kill(the_worker(killed), signal.SIGKILL)
    output, _ = killed.communicate(timeout=120)
    assert killed.returncode == 76, output
    assert "a loader worker is lost: " in output and "Traceback" not in output
    again = started(config)
    past_step(tmp_path / "run", reached + 10, again)
    again.terminate()
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 75 and "training from step 0 of" not in output, output


@pytest.mark.slow
def test_a_frozen_worker_does_not_outlive_its_parent(sets: dict[str, str], tmp_path: Path) -> None:
    killed = started(endless(sets, tmp_path))
    past_step(tmp_path / "run", 2, killed)
    worker = the_worker(killed)
    os.kill(worker, signal.SIGSTOP)
    killed.kill()
    killed.communicate(timeout=60)
    for _ in range(50):
        if not Path(f"/proc/{worker}").exists():
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    raise AssertionError("the worker is still there")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_to_the_whole_group_stops_the_run_as_one_to_its_rank_does(
    number: signal.Signals, sets: dict[str, str], tmp_path: Path
) -> None:
    run = started(endless(sets, tmp_path))
    past_step(tmp_path / "run", 2, run)
    os.killpg(run.pid, number)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == (130 if number == signal.SIGINT else 75), output
    assert "lost" not in output and "saved" in output, output


def endless(sets: dict[str, str], folder: Path) -> Path:
    """The config file of a run with one loading process."""
    data = {**tree(sets, folder)["data"], "workers": 1}
    run = run_of(sets, folder / "run", steps=100_000, data=data, checkpoint={"every_steps": 5})
    (folder / "config.yaml").write_text(dump(run))
    return folder / "config.yaml"


def the_worker(process: subprocess.Popen[str]) -> int:
    """The loading process of a run."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [each for each in children if "mmcontrast" in Path(f"/proc/{each}/cmdline").read_text()]
    assert len(workers) == 1
    return int(workers[0])


def started(config: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mmcontrast", "train", str(config)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def past_step(folder: Path, step: int, process: subprocess.Popen[str]) -> int:
    """Wait until a run has logged more than ``step`` steps; return how many."""
    for _ in range(1200):
        assert process.poll() is None, process.communicate()[0]
        if (folder / "metrics.jsonl").is_file() and max(losses(folder), default=0) > step:
            return max(losses(folder))
        time.sleep(0.1)
    raise AssertionError("the run does not get on")
