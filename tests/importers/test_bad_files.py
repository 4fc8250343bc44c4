"""Files that are damaged, or something else: one message, exit code 2, nothing written."""

from __future__ import annotations

import collections
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mmcontrast.cli import main
from mmcontrast.errors import CheckpointError
from mmcontrast.weight_files import read_tensors
from tests.importers.conftest import Make
from tests.importers.peers import tensors


def refused(arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run an import that must fail; what it said."""
    capsys.readouterr()
    assert main(["import", *arguments, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said
    assert not out.exists() and not list(out.parent.glob(".writing-*"))
    return said


def changed(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    """A change of a file's tensors."""

    def apply(file: Path) -> None:
        state = tensors(file.parent)
        change(state)
        save_file(state, file)

    return apply


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (lambda file: file.write_bytes(file.read_bytes()[:-1000]), "does not read"),
    "text": (lambda file: file.write_text("<html>not found</html>"), "does not read"),
    "empty": (lambda file: file.write_bytes(b""), "does not read"),
    "gone": (lambda file: file.unlink(), "holds no weights"),
    "a weight less": (changed(lambda state: state.pop("conv1.0.weight")), "1 of 86 weights are missing"),
    "a weight more": (changed(lambda state: state.update(extra=torch.zeros(1))), "1 weights have no place here"),
    "another shape": (changed(lambda state: state.update({"bn1.weight": torch.zeros(3)})), "has shape (3,) there"),
    "not a number": (changed(lambda state: state["fc.weight"].fill_(float("nan"))), "values that are not finite"),
    "whole numbers": (changed(lambda state: state.update({"bn1.bias": state["bn1.bias"].int()})), "is torch.int32"),
    "no config": (lambda file: (file.parent / "config.json").unlink(), "Add --set name=NAME"),
    "config of lists": (lambda file: (file.parent / "config.json").write_text("[]"), "should hold a map"),
    "unknown model": (
        lambda file: (file.parent / "config.json").write_text('{"architecture": "resnet10x"}'),
        "Did you mean 'resnet10t'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_one_message_and_nothing_written(
    damage: str, imported: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer, _ = imported("timm")
    shutil.copytree(peer.path, tmp_path / "peer")
    apply, words = DAMAGE[damage]
    apply(tmp_path / "peer" / peer.file().name)
    arguments = [str(tmp_path / "peer"), "--from", "timm", "--set", "classifier=true"]
    assert words in refused(arguments, tmp_path / "out", capsys)


def test_weights_that_compute_something_else_there_are_refused(
    imported: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer, _ = imported("timm")
    shutil.copytree(peer.path, tmp_path / "peer")
    tree = json.loads((peer.path / "config.json").read_text(encoding="utf-8"))
    # The tower knows the model's own pooling alone, which is a mean.
    (tmp_path / "peer/config.json").write_text(json.dumps({**tree, "model_args": {"global_pool": "max"}}))
    said = refused([str(tmp_path / "peer"), "--from", "timm", "--set", "size=64"], tmp_path / "out", capsys)
    assert "computes something else; nothing was written" in said and "largest difference" in said


@pytest.mark.parametrize(
    ("layout", "other", "words"),
    [
        ("hf-clip", "hf-siglip", "of type 'siglip'; expected 'clip'"),
        ("hf-siglip", "hf-clip", "of type 'clip'; expected 'siglip'"),
        ("open-clip", "hf-clip", "Add --set name=NAME"),
        ("timm", "open-clip", "Add --set name=NAME"),
    ],
)
def test_a_checkpoint_of_another_layout_is_named(
    layout: str, other: str, words: str, imported: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer, _ = imported(other)
    said = refused([str(peer.path), "--from", layout], tmp_path / "out", capsys)
    assert words in said or "holds no weights" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "--from", "hf-clip"], "'nowhere' does not exist"),
        (["nowhere", "--from", "hf-clop"], "Did you mean 'hf_clip'"),
        (["nowhere", "--from", "timm", "--set", "nmae=x"], "Did you mean 'name'"),
        ([".", "--from", "timm", "--tower", "text"], "timm has no text tower; it has: image"),
        ([".", "--from", "open-clip", "--set", "name=ViT-B-33"], "Did you mean 'ViT-B-32'"),
    ],
)
def test_mistakes_of_the_command_line_are_named(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in refused(arguments, tmp_path / "out", capsys)


def test_a_folder_that_exists_is_left_alone(
    imported: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer, _ = imported("timm")
    (tmp_path / "note").write_text("mine")
    assert main(["import", str(peer.path), "--from", "timm", "--out", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


def test_a_file_of_torch_gives_tensors_and_plain_numbers_alone(tmp_path: Path) -> None:
    state = {f"module.{name}": torch.rand(2) for name in ("a", "b")}
    # What trainers keep beside the weights: counts, losses as numbers of numpy, optimizer states.
    extra = {"epoch": 3, "loss": np.float64(0.5), "best": np.float32(1), "seen": np.int64(7), "optimizer": {"lr": 1.0}}
    torch.save({**extra, "state_dict": state}, tmp_path / "weights.pt")
    found = read_tensors(tmp_path / "weights.pt")
    assert found.keys() == {"a", "b"} and torch.equal(found["a"], state["module.a"])


class Evil:
    """Would call a function of the system when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("ran",)


@pytest.mark.parametrize(
    "value", [Evil(), SimpleNamespace(a=1), Path("/"), collections.deque([1]), np.zeros(2, object)]
)
def test_a_file_of_torch_that_holds_anything_else_is_refused(
    value: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "more": value}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="does not read as tensors alone"):
        read_tensors(tmp_path / "weights.pt")
    assert "ran" not in capsys.readouterr().out


def test_a_compressed_file_of_torch_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10_000)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "pressed.pt", "w") as pressed:
        for member in plain.infolist():
            pressed.writestr(member.filename, plain.read(member), zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="is compressed"):
        read_tensors(tmp_path / "pressed.pt")


@pytest.mark.parametrize("content", [{"state_dict": {}}, {"a": 1}, [torch.zeros(1)]])
def test_a_file_of_torch_without_a_state_dict_is_named(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        read_tensors(tmp_path / "weights.pt")
