"""A small indexed set of pictures, sounds and captions."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmcontrast.cli import main
from tests.fixtures import COLORS, picture, tone


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows; one in three lacks its sound, one its picture."""
    folder = tmp_path_factory.mktemp("files")
    for number in range(12):
        color = list(COLORS)[number % len(COLORS)]
        if number != 5:
            (folder / f"row-{number:02d}.png").write_bytes(picture(color, size=12 + number))
        if number % 3:
            (folder / f"row-{number:02d}.wav").write_bytes(tone(150 * (1 + number)))
        (folder / f"row-{number:02d}.txt").write_text(f"a {color} square, number {number}", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def embedded(trained: Path, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its embeddings, in parts of five rows."""
    out = tmp_path_factory.mktemp("embedded") / "files"
    command = ["embed", str(files), "--model", str(trained), "--out", str(out), "--text-field", "text"]
    assert main([*command, "--part-rows", "5"]) == 0
    return out


@pytest.fixture(scope="session")
def index(embedded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their exact index."""
    out = tmp_path_factory.mktemp("index") / "files"
    assert main(["index", str(embedded), "--out", str(out)]) == 0
    return out
