"""Running jobs as their user does, on the shipped sets."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_pipelines.cli import main
from data_pipelines.rows import Row, open_folder

EMOJI = "package:quickstart/emoji-unseen-concepts"
TRIMODAL = "package:quickstart/trimodal-test"


@pytest.fixture
def data(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[..., str]:
    """``data("run", "merge", "out=...", code=0)``: the command in this process; returns what it said."""
    caplog.set_level(logging.INFO)

    def run(*arguments: object, code: int = 0) -> str:
        words = [str(each) for each in arguments]
        if words[0] == "run" and "--processes" not in words:
            words += ["--processes", "1"]
        caplog.clear()
        found = main(words)
        captured = capsys.readouterr()
        assert found == code, captured.err
        return caplog.text + captured.err + captured.out

    return run


def rows_of(folder: Path | str) -> list[Row]:
    """Every row of a set, in order."""
    source = open_folder(str(folder))
    return [row for number in range(len(source)) for row in source.rows(number)]


def result_digests(folder: Path) -> dict[str, str]:
    """sha256 of everything a job leaves for others: shards, manifests, lists of rows."""
    kinds = (".tar", ".jsonl")
    files = [path for path in folder.rglob("*") if path.suffix in kinds or path.name == "manifest.json"]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if "job" not in path.relative_to(folder).parts
    }


def dropped_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of ``dropped.jsonl``."""
    return [json.loads(line) for line in (folder / "dropped.jsonl").read_text(encoding="utf-8").splitlines()]
