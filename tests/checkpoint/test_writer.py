"""Checkpoints do not hold training up, say what fails, try again, and keep what the config asks for."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmcontrast.checkpoint import folder, folder_name, newest, verify
from mmcontrast.checkpoint.retention import kept
from mmcontrast.errors import CheckpointError
from mmcontrast.run import CheckpointConfig
from tests.checkpoint.chain import Chain, opened, saved_steps, take


@contextmanager
def full_disk(free_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond ``free_bytes``: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# Nothing fits; half of the weights do; all but their last bytes.
@pytest.mark.parametrize("free_bytes", [0, 30_000, 63_900])
def test_a_full_disk_is_one_alarm_and_the_next_try_succeeds(free_bytes: int, tmp_path: Path) -> None:
    chain, said = Chain(), []
    with opened(tmp_path, said, retry_seconds=0.01) as checkpoints:
        chain.advance()
        take(checkpoints, chain)
        checkpoints.settle()
        chain.advance()
        with full_disk(free_bytes):
            take(checkpoints, chain)
            checkpoints.settle()
        assert len(said) == 1 and said[0].startswith("ALARM: cannot write checkpoint") and "\n" not in said[0]
        assert newest(tmp_path) == tmp_path / folder_name(1)
        assert [path.name for path in tmp_path.iterdir()] == [folder_name(1)]  # nothing half written is left
        time.sleep(0.02)
        assert checkpoints.asks()
        chain.advance()
        take(checkpoints, chain)
        checkpoints.settle()
        assert newest(tmp_path) == tmp_path / folder_name(3) and not checkpoints.asks()
        assert checkpoints.stats()["checkpoint_failures"] == 1


def test_an_unwritable_folder_at_the_end_fails_the_run_with_one_message(tmp_path: Path) -> None:
    chain, said = Chain(), []
    (tmp_path / "checkpoints").write_text("a file in the way")
    with opened(tmp_path / "checkpoints", said) as checkpoints:
        chain.advance()
        with pytest.raises(CheckpointError, match="could not be written in 3 tries"):
            checkpoints.finish(chain.clock, chain, loader={}, about={"metrics": {}})  # type: ignore[arg-type]
    assert len(said) == 3


def test_training_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = folder.save

    def slow(*arguments: object) -> Path:
        time.sleep(1.5)
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(folder, "save", slow)
    chain = Chain()
    with opened(tmp_path) as checkpoints:
        chain.advance()
        take(checkpoints, chain)
        assert checkpoints.stats()["checkpoint_wait_seconds"] < 1.0
        assert newest(tmp_path) is None and not checkpoints.asks()
        chain.advance()  # what training does meanwhile is not in the checkpoint
        checkpoints.settle()
        saved = folder.load(tmp_path / folder_name(1))
        assert saved.clock.step == 1


def test_what_was_begun_before_a_failure_of_the_run_is_finished(tmp_path: Path) -> None:
    chain = Chain()
    with pytest.raises(ZeroDivisionError), opened(tmp_path) as checkpoints:
        chain.advance()
        take(checkpoints, chain)
        raise ZeroDivisionError
    assert verify(tmp_path / folder_name(1)) is None


def test_minutes_ask_for_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain, now = Chain(), time.monotonic()
    with opened(tmp_path, every_minutes=5) as checkpoints:
        assert not checkpoints.asks()
        monkeypatch.setattr("mmcontrast.checkpoint.writer.time.monotonic", lambda: now + 400)
        assert checkpoints.asks()
        chain.advance()
        take(checkpoints, chain)
        assert not checkpoints.asks()


def test_remains_of_an_interrupted_writer_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".writing-step-00000007-123").mkdir()
    with opened(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_the_last_the_every_nth_and_the_best_stay(tmp_path: Path) -> None:
    # The metric of step s is |s - 3.2|: 3 is the best, 4 the next.
    assert saved_steps(tmp_path / "last", 9, keep=2) == [8, 9]
    assert saved_steps(tmp_path / "nth", 9, keep=1, keep_every_steps=4) == [4, 8, 9]
    assert saved_steps(tmp_path / "best", 9, keep=1, keep_best=2) == [3, 4, 9]
    assert saved_steps(tmp_path / "high", 9, keep=1, keep_best=1, best_is="highest") == [9]
    shutil.rmtree(tmp_path)


def test_an_unknown_or_broken_metric_is_never_the_best() -> None:
    values = {1: None, 2: float("nan"), 3: 5.0, 4: 5.0, 5: 7.0}
    assert kept(values, CheckpointConfig(keep=1, keep_best=1)) == {4, 5}  # of equal ones the newer
