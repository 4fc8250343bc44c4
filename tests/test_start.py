"""Towers start from files: the same numbers as the package that wrote them, and one message where they do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mmcontrast.checkpoint_command import consolidate
from mmcontrast.cli import main
from mmcontrast.config import dump
from mmcontrast.errors import CheckpointError
from mmcontrast.evaluate.encoder import load_encoder
from mmcontrast.heads.identity import Identity
from mmcontrast.model import Model, ModelConfig
from mmcontrast.start import check_start, load_start
from mmcontrast.towers import TOWERS
from mmcontrast.train import train
from mmcontrast.tuning.fields import LoRAConfig, TowerTraining
from tests.contracts.examples import inputs
from tests.small_run import losses, run_of, tree


def started(kind: str, weights: Path, *, training: dict[str, Any] | None = None, **fields: Any) -> Model:
    """A model of one tower, started from a file."""
    tower = TOWERS.get(kind).Config(**fields)
    chosen = {tower.modality: TowerTraining(weights=weights, **(training or {}))}
    heads = {tower.modality: Identity.Config()} if kind.startswith("open_clip") else {}
    config = ModelConfig(dim=256, towers={tower.modality: tower}, heads=heads, training=chosen)
    model = Model(config)
    assert check_start(config) == load_start(model)
    return model.eval()


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_open_clips_file_gives_open_clips_embeddings(kind: str, tmp_path: Path) -> None:
    import open_clip

    torch.manual_seed(0)
    peer: Any = open_clip.create_model("ViT-S-32-alt").eval()
    path = tmp_path / f"weights.{kind}"
    if kind == "pt":
        state = {f"module.{name}": value for name, value in peer.state_dict().items()}
        torch.save({"epoch": 3, "state_dict": state}, path)
    else:
        save_file(peer.state_dict(), path)
    image = started("open_clip_image", path, name="ViT-S-32-alt")
    lora = {"lora": LoRAConfig(rank=2)}
    text = started("open_clip_text", path, name="ViT-S-32-alt", training=lora if kind == "pt" else {})
    pixels = inputs(image.config.towers["image"], 2)
    ids = torch.nn.functional.pad(inputs(text.config.towers["text"], 2), (0, 40))
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (peer.visual.image_mean, peer.visual.image_std))
    with torch.no_grad():
        expected = peer.encode_image((pixels / 255 - mean) / std, normalize=True)
        torch.testing.assert_close(image.encode("image", pixels), expected, atol=1e-5, rtol=1e-4)
        expected = peer.encode_text(torch.nn.functional.pad(ids, (0, 77 - ids.shape[1])), normalize=True)
        torch.testing.assert_close(text.encode("text", ids), expected, atol=1e-5, rtol=1e-4)
    other = started("open_clip_image", path, name="ViT-S-32-alt", size=64)  # four patches instead of 49
    places = other.state_dict()["towers.image.inner.positional_embedding"]
    assert places.shape[0] == 5 and torch.equal(places[0], peer.visual.positional_embedding[0])


def timm_file(folder: Path) -> tuple[Any, Path]:
    """A timm ResNet with a classifier and statistics of its own."""
    import timm

    torch.manual_seed(0)
    peer = timm.create_model("resnet10t", num_classes=7)
    for module in peer.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
    save_file(peer.state_dict(), folder / "resnet.safetensors")
    return peer.eval(), folder / "resnet.safetensors"


def test_timms_file_gives_timms_features(tmp_path: Path) -> None:
    peer, path = timm_file(tmp_path)
    model = started("timm_image", path, name="resnet10t", size=32, batch_norm="frozen")
    pixels = inputs(model.config.towers["image"], 2)
    mean, std = (255 * torch.tensor(peer.default_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = peer.forward_head(peer.forward_features((pixels - mean) / std), pre_logits=True)
        torch.testing.assert_close(model.towers["image"](pixels).pooled, expected, atol=1e-5, rtol=1e-5)


def test_statistics_of_batch_norm_are_not_dropped_in_silence(tmp_path: Path) -> None:
    _, path = timm_file(tmp_path)
    with pytest.raises(CheckpointError, match="model.training.image.weights: .*set the tower's batch_norm to frozen"):
        started("timm_image", path, name="resnet10t", size=32)


def test_what_does_not_fit_is_one_message(tmp_path: Path) -> None:
    _, path = timm_file(tmp_path)
    for kind, fields, message in (
        ("timm_image", {"name": "resnet14t", "size": 32, "batch_norm": "frozen"}, "weights are missing, 'inner."),
        (
            "timm_image",
            {"name": "resnet10t", "size": 32, "batch_norm": "frozen"},
            "is neither a file nor a run folder",
        ),
    ):
        place = path if "missing" in message else tmp_path / "nowhere.pt"
        with pytest.raises(CheckpointError, match=message):
            started(kind, place, **fields)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import collections

    torch.save({"state_dict": {"a": torch.zeros(1)}, "args": collections.Counter}, tmp_path / "weights.pt")
    torch.save({"state_dict": {"a": torch.zeros(1)}, "args": Path("/")}, tmp_path / "more.pt")
    with pytest.raises(CheckpointError, match="does not read as tensors alone"):
        started("timm_image", tmp_path / "more.pt", name="resnet10t", size=32)


def adapted(sets: dict[str, str], out: Path, **fields: Any) -> Any:
    """A run whose text tower has adapters."""
    built = tree(sets, out)
    built["model"]["training"] = {"text": {"lora": {"rank": 2, "alpha": 64.0, "dropout": 0.1}}, **fields}
    return run_of(sets, out, model=built["model"], optimizer={"type": "adamw", "lr": 0.05},
                  checkpoint={"every_steps": 4}, log={"every_steps": 1, "tensorboard": False})  # fmt: skip


def test_a_run_with_adapters_resumes_evaluates_consolidates_and_starts_another(
    sets: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    train(adapted(sets, tmp_path / "whole"))
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    shutil.rmtree(tmp_path / "parts/checkpoints/step-00000008")
    (tmp_path / "parts/metrics.jsonl").unlink()
    train(adapted(sets, tmp_path / "parts"))
    whole = losses(tmp_path / "whole")
    assert losses(tmp_path / "parts") == {step: loss for step, loss in whole.items() if step > 4}  # bit for bit

    consolidate(tmp_path / "whole", tmp_path / "weights.safetensors")
    fields = {name: {"weights": str(tmp_path / place), "frozen": True, "frozen_head": True}
              for name, place in (("text", "weights.safetensors"), ("image", "whole"))}  # fmt: skip
    second = adapted(sets, tmp_path / "second", **fields)
    (tmp_path / "second.yaml").write_text(dump(second))
    assert main(["check", str(tmp_path / "second.yaml")]) == 0
    said = capsys.readouterr().out
    assert "tower text: 0 of" in said and "tower text starts with its head from" in said
    train(second)
    texts = ["a red square", "a tone of 200 hertz"]
    before, after = (load_encoder(tmp_path / name).encode("text", texts) for name in ("whole", "second"))
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)
    states = [embedding_table(tmp_path / name) for name in ("whole", "second")]
    assert torch.equal(*states)


def embedding_table(folder: Path) -> Tensor:
    encoder = load_encoder(folder)
    return encoder.model.state_dict()["towers.text.embed.table.weight"]
