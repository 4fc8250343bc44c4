"""The config in a run's folder is whole or not there: ranks read it while it is written, and kills come between."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mmcontrast import comm
from mmcontrast.config import dump
from mmcontrast.run_folder import CONFIG_NAME, open_run_folder
from tests.small_run import run_of


def test_nobody_reads_half_a_config(sets: dict[str, str], tmp_path: Path) -> None:
    run = run_of(sets, tmp_path / "run")
    path, whole = open_run_folder(run) / CONFIG_NAME, dump(run)
    seen: set[str] = set()
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            seen.add(path.read_text(encoding="utf-8"))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(30):
        open_run_folder(run)
    ended.set()
    reader.join()
    assert seen == {whole}


def test_a_kill_while_it_is_written_leaves_the_folder_to_the_same_config(
    sets: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(sets, tmp_path / "run")

    def killed(*paths: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            open_run_folder(run)
    assert not (run.out / CONFIG_NAME).exists()
    assert (open_run_folder(run) / CONFIG_NAME).read_text(encoding="utf-8") == dump(run)


def test_one_rank_writes_it(sets: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comm, "rank", lambda: 1)
    assert not list(open_run_folder(run_of(sets, tmp_path / "run")).iterdir())
