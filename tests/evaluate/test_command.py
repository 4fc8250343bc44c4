"""``mmcontrast eval run`` as its user meets it: the cache between two runs, and exit codes when data are missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mmcontrast.cli import main
from mmcontrast.evaluate.encoder import TowerEncoder, untrained_encoder
from mmcontrast.train import train
from tests.evaluate.fakes import make_things, picture
from tests.small_run import run_of
from tests.tiny import model

SUITE = """
evals:
  pictures: {{type: zero_shot, source: {source}, label: thing, top: [1]}}
  sounds: {{type: retrieval, source: {source}, query: audio, target: text}}
"""


@pytest.fixture(scope="module")
def trained(sets: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with one checkpoint."""
    out = tmp_path_factory.mktemp("runs") / "small"
    train(run_of(sets, out, steps=2))
    return out


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_things(tmp_path_factory.mktemp("sets") / "things", things=5)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Modalities of the forwards that were made, in order."""
    calls: list[str] = []
    whole = TowerEncoder.encode

    def counted(self: TowerEncoder, modality: str, items: Any, *, progress: str | None = None) -> torch.Tensor:
        calls.append(modality)
        return whole(self, modality, items, progress=progress)

    monkeypatch.setattr(TowerEncoder, "encode", counted)
    return calls


def evaluate(run: Path, suite: str, folder: Path, *options: str) -> int:
    """Write a suite and run it; results go to ``folder/out``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "small.yaml"
    path.write_text(suite, encoding="utf-8")
    return main(["eval", "run", str(run), "--suite", str(path), "--out", str(folder / "out"), *options])


def evaluators(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out/results.json").read_text(encoding="utf-8"))["evaluators"]
    return found


def test_a_second_run_reads_the_cache_and_gives_the_same_numbers(
    trained: Path, things: str, tmp_path: Path, encoded: list[str]
) -> None:
    suite, cache = SUITE.format(source=things), ("--cache", str(tmp_path / "cache"))
    assert evaluate(trained, suite, tmp_path / "plain") == 0
    plain = len(encoded)
    assert evaluate(trained, suite, tmp_path / "first", *cache) == 0
    assert plain > 0 and len(encoded) == 2 * plain  # nothing was kept before
    assert evaluate(trained, suite, tmp_path / "second", *cache) == 0
    assert len(encoded) == 2 * plain  # trained and untrained, pictures, sounds and texts: all read
    assert evaluators(tmp_path / "plain") == evaluators(tmp_path / "first") == evaluators(tmp_path / "second")


def test_other_weights_do_not_find_the_cache(
    sets: dict[str, str], trained: Path, things: str, tmp_path: Path, encoded: list[str]
) -> None:
    suite, cache = SUITE.format(source=things), ("--cache", str(tmp_path / "cache"))
    evaluate(trained, suite, tmp_path / "first", *cache)
    first = len(encoded)
    train(run_of(sets, tmp_path / "other", steps=3))
    evaluate(tmp_path / "other", suite, tmp_path / "cached", *cache)
    # Pictures and sounds are decoded for both twins; of the texts the untrained twin's alone were kept.
    assert encoded[first:].count("image") == encoded[:first].count("image")
    assert encoded[first:].count("audio") == encoded[:first].count("audio")
    assert 2 * encoded[first:].count("text") == encoded[:first].count("text")
    evaluate(tmp_path / "other", suite, tmp_path / "plain")
    assert evaluators(tmp_path / "cached") == evaluators(tmp_path / "plain") != evaluators(tmp_path / "first")


def test_an_identity_is_of_weights_config_batch_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    built = model()
    known = TowerEncoder(built).identity
    assert TowerEncoder(model("siglip")).identity == known  # what an objective keeps is no part of an embedding
    assert untrained_encoder(built.config, seed=1).identity == untrained_encoder(built.config, seed=1).identity
    others = [untrained_encoder(built.config, seed=2).identity, TowerEncoder(built, batch_rows=7).identity]
    with torch.no_grad():
        next(built.heads.parameters())[0] += 1e-6
    others.append(TowerEncoder(built).identity)
    monkeypatch.setattr("mmcontrast.evaluate.identity.code_sha256", lambda: "other code")
    others.append(TowerEncoder(model()).identity)
    assert len({known, *others}) == 5


def test_a_suite_without_any_of_its_data_is_a_mistake_that_names_it(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = str(tmp_path / "gone")
    for options in ((), ("--allow-missing",)):  # nothing at all was measured: no result to allow
        assert evaluate(trained, SUITE.format(source=gone), tmp_path / "none", *options) == 2
        said = capsys.readouterr().err
        assert "pictures" in said and "sounds" in said and said.count(gone) == 2 and "Traceback" not in said
    assert not (tmp_path / "none/out").exists()


def test_a_missing_set_is_named_and_exits_with_3_unless_allowed(
    trained: Path, things: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    suite = SUITE.format(source=things) + f"  lost: {{type: zero_shot, source: {gone}, label: thing}}\n"
    assert evaluate(trained, suite, tmp_path / "strict") == 3
    assert "incomplete: 1 sets or rows are missing" in capsys.readouterr().err
    tree = json.loads((tmp_path / "strict/out/results.json").read_text(encoding="utf-8"))
    assert set(tree["evaluators"]) == {"pictures", "sounds"} and str(gone) in tree["absent"]["lost"]
    assert evaluate(trained, suite, tmp_path / "allowed", "--allow-missing") == 0
    printed = capsys.readouterr()
    assert "incomplete" not in printed.err and "not run lost" in printed.out


def test_a_damaged_row_is_named_and_exits_with_3_unless_allowed(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    lines = ["file,thing"]
    for number in range(4):
        (folder / f"{number}.png").write_bytes(picture(number)[: 20 if number == 2 else None])
        lines.append(f"{number}.png,thing {number}")
    (folder / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    (folder / "set.yaml").write_text("type: table\nfile: list.csv\nmedia: {image: file}\n", encoding="utf-8")
    suite = "evals:\n  pictures: {type: zero_shot, source: set.yaml, label: thing, modality: image}\n"
    data, cache = ("--data", str(folder)), ("--cache", str(tmp_path / "cache"))
    for name in ("first", "second"):  # a cache does not hide it
        assert evaluate(trained, suite, tmp_path / name, *data, *cache) == 3
        found = evaluators(tmp_path / name)["pictures"]
        assert found["num_missing"] == 1 and "000002: picture" in found["missing"][0] and found["num_rows"] == 3
    assert evaluate(trained, suite, tmp_path / "allowed", *data, "--allow-missing") == 0
    shutil.copy(folder / "1.png", folder / "2.png")
    assert evaluate(trained, suite, tmp_path / "mended", *data, *cache) == 0


def test_a_consolidated_file_gives_the_numbers_of_its_checkpoint(trained: Path, things: str, tmp_path: Path) -> None:
    file, suite = tmp_path / "weights.safetensors", SUITE.format(source=things)
    assert main(["checkpoint", "consolidate", str(trained), str(file)]) == 0
    assert evaluate(trained, suite, tmp_path / "run") == 0
    assert evaluate(file, suite, tmp_path / "file") == 0
    assert evaluators(tmp_path / "file") == evaluators(tmp_path / "run")


def test_weights_without_their_config_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    assert main(["eval", "run", str(tmp_path / "other.safetensors"), "--suite", "quick"]) == 2
    said = capsys.readouterr().err
    assert "was not written by 'mmcontrast checkpoint consolidate'" in said and "open_clip:NAME:FILE" in said
