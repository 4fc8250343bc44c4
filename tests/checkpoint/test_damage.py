"""Whatever happens to the bytes of a checkpoint is noticed, and an older one is used."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from mmcontrast.checkpoint import folder_name, load, newest, verify
from mmcontrast.checkpoint.folder import MANIFEST
from tests.checkpoint.chain import Chain, expected, opened, saved_steps, take
from tests.checkpoint.damage import FILES, after_kills, flip, truncate


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


@pytest.mark.parametrize("kills", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_of_a_save_loses_nothing_announced(kills: int, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for number, (announced, found) in enumerate(after_kills(tmp_path, kills)):
        if found is None:
            assert announced == 0
            continue
        saved = load(found)
        assert saved.clock.step >= announced, f"kill {number}"
        assert saved.model["weight"][:32].numpy().tobytes() == expected(saved.clock.step).link
    assert newest(folder) is not None
    shutil.rmtree(folder)
