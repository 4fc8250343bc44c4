"""Whatever happens to the bytes of a checkpoint is noticed, and an older one is used."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from mmcontrast.checkpoint import folder_name, load, newest, verify
from mmcontrast.checkpoint.folder import MANIFEST
from tests.checkpoint.chain import Chain, expected, opened, saved_steps, take

FILES = ["MANIFEST.json", "model.safetensors", "optimizer.safetensors", "ranks.pt", "state.json"]


def flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def truncate(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


@pytest.mark.parametrize("damage", [flip, truncate])
def test_400_random_damages_are_all_found(damage: object, tmp_path: Path) -> None:
    assert saved_steps(tmp_path, 1) == [1]
    path, draw = tmp_path / folder_name(1), random.Random(0)
    assert sorted(file.name for file in path.iterdir()) == FILES
    for number in range(400):
        file = path / FILES[number % len(FILES)]
        content = file.read_bytes()
        file.write_bytes(damage(content, draw))  # type: ignore[operator]
        problem = verify(path)
        assert problem is not None, f"{damage.__name__} {number} of {file.name}"  # type: ignore[attr-defined]
        assert file.name == MANIFEST or file.name in problem
        file.write_bytes(content)
    assert verify(path) is None


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_and_the_one_before_is_used(name: str, tmp_path: Path) -> None:
    assert saved_steps(tmp_path, 2) == [1, 2]
    (tmp_path / folder_name(2) / name).unlink()
    with pytest.warns(UserWarning, match=rf"step-00000002' is passed over: {name} is missing"):
        assert newest(tmp_path) == tmp_path / folder_name(1)


def test_resuming_puts_a_damaged_one_aside_and_saves_that_step_again(tmp_path: Path) -> None:
    saved_steps(tmp_path, 3)
    file = tmp_path / folder_name(3) / "model.safetensors"
    file.write_bytes(flip(file.read_bytes(), random.Random(1)))
    said: list[str] = []
    with opened(tmp_path, said) as checkpoints, pytest.warns(UserWarning, match="model.safetensors is damaged"):
        chain = Chain()
        chain.resume(checkpoints)
        assert chain.clock.step == 2 and chain.link == expected(2).link
        chain.advance()
        take(checkpoints, chain)
        checkpoints.settle()
    assert ".aside-step-00000003" in said[0]
    assert verify(tmp_path / folder_name(3)) is None and (tmp_path / ".aside-step-00000003").is_dir()


def test_a_step_saved_over_a_damaged_folder_keeps_both(tmp_path: Path) -> None:
    (tmp_path / folder_name(1)).mkdir()
    (tmp_path / folder_name(1) / "rubbish").write_text("left by something else")
    assert saved_steps(tmp_path, 1) == [1]
    assert verify(tmp_path / folder_name(1)) is None
    assert (tmp_path / ".aside-step-00000001" / "rubbish").is_file()


def save_for_ever(folder: Path, log: Path) -> None:
    """Resume the chain and save it at every step; announce each one that is on the disk."""
    chain = Chain()
    with opened(folder, keep=3) as checkpoints, log.open("a", buffering=1) as announced:
        chain.resume(checkpoints)
        while True:
            chain.advance()
            take(checkpoints, chain)
            checkpoints.settle()
            announced.write(f"{chain.clock.step}\n")


@pytest.mark.parametrize("kills", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_of_a_save_loses_nothing_announced(kills: int, tmp_path: Path) -> None:
    draw, log, folder = random.Random(0), tmp_path / "announced", tmp_path / "checkpoints"
    log.touch()
    folder.mkdir()
    fork = multiprocessing.get_context("fork")  # a start takes milliseconds: the kills hit saves, not imports
    for number in range(kills):
        process = fork.Process(target=save_for_ever, args=(folder, log))
        process.start()
        assert process.pid is not None
        time.sleep(draw.uniform(0.02, 0.25))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        whole_lines = log.read_text().rpartition("\n")[0].split()
        announced = int(whole_lines[-1]) if whole_lines else 0
        found = newest(folder)
        if found is None:
            assert announced == 0
            continue
        saved = load(found)
        assert saved.clock.step >= announced, f"kill {number}"
        assert saved.model["weight"][:32].numpy().tobytes() == expected(saved.clock.step).link
    assert newest(folder) is not None
    shutil.rmtree(folder)
