"""``mmcontrast head`` on a trained run: from rows or embeddings to answers, and every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import mmcontrast
from mmcontrast.cli import main
from mmcontrast.errors import HeadError
from mmcontrast.train import train
from tests.small_run import run_of


@pytest.fixture(scope="module")
def close(trained: Path, sets: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("heads") / "close"
    command = ["head", "train", "close", f"source={sets['pictures']}", "label=thing", "steps=5", "--out", str(out)]
    assert main([*command, "--model", str(trained)]) == 0
    return out


def test_a_head_is_judged_on_a_source_and_on_its_embeddings_alike(
    close: Path, trained: Path, sets: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", sets["pictures"], "--model", str(trained), "--out", str(tmp_path / "embedded")]) == 0
    found = []
    for source in (sets["pictures"], str(tmp_path / "embedded")):
        capsys.readouterr()
        asked = ["head", "eval", str(close), source, "--where", "thing=red", "--probe-source", source, "--json"]
        assert main(asked) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1] and found[0]["rows"] == 8 and found[0]["majority"] == 1
    assert set(found[0]) == {"head", "zero_shot", "linear_probe", "majority", "rows"}
    assert main(["head", "eval", str(close), sets["pictures"]]) == 0
    assert "rows                     32" in capsys.readouterr().out


def test_the_command_line_and_the_encoder_say_the_same(
    close: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = mmcontrast.load(trained, device="cpu")
    head = mmcontrast.load_head(close, model=encoder)
    ((name, share), *rest) = head.classes("text", ["a red square"], count=9)[0]
    assert len(rest) == 3 and sum([share, *(each for _, each in rest)]) == pytest.approx(1)
    scores = head.head.scores(encoder.encode(text=["a red square"]), "text")
    assert torch.equal(head.scores("text", ["a red square"]), scores)
    capsys.readouterr()
    assert main(["head", "apply", str(close), "--text", "a red square", "-k", "1"]) == 0
    assert capsys.readouterr().out == f"a red square  {name} {share:.3f}\n"


def test_another_model_is_refused(
    close: Path, trained: Path, sets: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    train(run_of(sets, other, steps=1))
    assert main(["head", "eval", str(close), sets["pictures"], "--model", str(other)]) == 2
    assert f"whose image tower is not that of '{other}'" in capsys.readouterr().err
    with pytest.raises(HeadError, match="whose text tower is not that of"):
        mmcontrast.load_head(close, model=other).classes("text", ["a"])
    assert main(["embed", sets["pictures"], "--model", str(trained), "--out", str(tmp_path / "e")]) == 0
    command = ["head", "eval", str(close), str(tmp_path / "e"), "--model", str(other)]
    assert main(command) == 2
    assert "not that of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["train", "closed", "--out", "x"], "no downstream head is named 'closed'. Did you mean 'close'"),
        (["train", "close", "source=a", "nois=1", "--out", "x"], "head.nois: no such key. Did you mean 'noise'"),
        (["train", "close", "source=a"], "--out: name the folder"),
        (["train", "close", "captions=a.json", "--out", "nowhere/x"], "no model is named"),
        (["apply", "CLOSE"], "nothing to class"),
        (["apply", "CLOSE", "--text", "a", "-k", "0"], "--count: 0 is no count"),
        (["eval", "CLOSE", "x", "--where", "thing"], "'thing' is no condition"),
        (["eval", "nowhere", "x"], "head 'nowhere': it has no sha256.json"),
    ],
)
def test_mistakes_are_named(
    command: list[str], says: str, close: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text('{"a": ["b"], "c": ["d"]}', encoding="utf-8")
    words = [word.replace("CLOSE", str(close)).replace("a.json", str(tmp_path / "a.json")) for word in command]
    assert main(["head", *words]) == 2
    assert says in capsys.readouterr().err


def test_a_head_can_be_described_by_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "head.yaml"
    path.write_text("type: close\nsource: embedded/photos\nnoise: 0.04\n", encoding="utf-8")
    assert main(["head", "train", str(path), "label=kind", "--print-config"]) == 0
    shown = capsys.readouterr().out
    assert "noise: 0.04" in shown and "label: kind" in shown and "type: close" in shown
