"""Adapters: only they learn, they start as nothing, and merged into the weights they compute the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from mmcontrast.errors import ConfigError, MissingPackage
from mmcontrast.model import Model, ModelConfig
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Tower
from mmcontrast.tuning.apply import apply_training
from mmcontrast.tuning.attention import SplitAttention
from mmcontrast.tuning.fields import LoRAConfig, TowerTraining
from mmcontrast.tuning.lora import merged, plain_names
from tests import tiny
from tests.contracts.examples import inputs, tower_config

WITH_LINEAR_BLOCKS = ("htsat", "hugging_face_text", "open_clip_image", "open_clip_text", "text_transformer",
                      "timm_spectrogram")  # fmt: skip


def built(name: str, folder: Path, fields: TowerTraining | None = None) -> Tower:
    torch.manual_seed(0)
    tower = TOWERS.build(tower_config(name, folder / "model"))
    if fields is not None:
        apply_training(tower, nn.Identity(), fields, where=f"model.training.{tower.config.modality}")
    return tower


@pytest.mark.parametrize("name", WITH_LINEAR_BLOCKS)
def test_adapters_start_as_nothing_learn_alone_and_merge(name: str, tmp_path: Path) -> None:
    plain = built(name, tmp_path).eval()
    tower = built(name, tmp_path, TowerTraining(lora=LoRAConfig(rank=2, alpha=6.0), unlocked=("norms",))).eval()
    values = inputs(tower.config, 3)
    with torch.no_grad():
        torch.testing.assert_close(tower(values).pooled, plain(values).pooled, atol=1e-6, rtol=1e-5)
    tower(values).pooled.square().sum().backward()
    learning = {each for each, parameter in tower.named_parameters() if parameter.grad is not None}
    adapters = {each for each in learning if ".lora_" in each}
    assert learning == {each for each, parameter in tower.named_parameters() if parameter.requires_grad}
    norms = built(name, tmp_path, TowerTraining(frozen=True, unlocked=("norms",)))
    assert learning - adapters == {each for each, parameter in norms.named_parameters() if parameter.requires_grad}
    blocks = {each for block in plain.layout().blocks for each in block}
    linear = [each for each, module in plain.named_modules() if isinstance(module, (nn.Linear, nn.MultiheadAttention))]
    assert len(adapters) >= 2 * sum(f"{each}.weight" in blocks for each in linear)  # every one of the blocks
    with torch.no_grad():
        for each, parameter in tower.named_parameters():
            if ".lora_" in each:
                parameter.add_(0.05 * torch.randn_like(parameter))
        before, changed = (normalize(each(values).pooled, dim=1) for each in (plain, tower))
        plain.load_state_dict(merged(tower, tower.state_dict()))
        torch.testing.assert_close(normalize(plain(values).pooled, dim=1), changed, atol=1e-6, rtol=0)
        assert float((changed - before).abs().max()) > 1e-3


def test_without_adapters_names_are_plain(tmp_path: Path) -> None:
    tower = built("open_clip_text", tmp_path)
    assert plain_names(tower) == {name: name for name in tower.state_dict()}


def test_attention_of_two_layers_is_torchs() -> None:
    torch.manual_seed(0)
    fused = nn.MultiheadAttention(12, 3, batch_first=True)
    nn.init.normal_(fused.in_proj_bias)
    x, mask = torch.randn(2, 5, 12), torch.full((5, 5), float("-inf")).triu(1)
    for attn_mask in (None, mask):
        expected, _ = fused(x, x, x, need_weights=False, attn_mask=attn_mask)
        found, _ = SplitAttention(fused)(x, x, x, need_weights=False, attn_mask=attn_mask)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_layers_can_be_named_by_pattern(tmp_path: Path) -> None:
    fields = TowerTraining(lora=LoRAConfig(targets=("layers.*.mlp.0", "layers.*.out")))
    tower = built("text_transformer", tmp_path, fields)
    adapted = {name.partition(".lora_")[0] for name, _ in tower.named_parameters() if ".lora_" in name}
    assert adapted == {"layers.0.mlp.0", "layers.0.out"}


@pytest.mark.parametrize(
    ("name", "targets", "message"),
    [
        (
            "small_resnet",
            (),
            "lora: the blocks of 'small_resnet' have no linear layers; name layers in lora.targets, of stem.0",
        ),
        ("text_transformer", ("layers.*.mlp.1",), "lora.targets: 'layers.*.mlp.1' names no layer"),
        # Its filters are standardised first: an adapter beside it could not be merged into it.
        ("small_resnet", ("stages.*.conv1",), "lora.targets: 'stages.*.conv1' names no layer"),
    ],
)
def test_layers_that_do_not_fit_are_named(name: str, targets: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        built(name, tmp_path, TowerTraining(lora=LoRAConfig(targets=targets)))
    assert message in str(raised.value) and "model.training." in str(raised.value)


def test_without_peft_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingPackage, match=r"pip install 'mmcontrast\[lora\]'"):
        built("text_transformer", tmp_path, TowerTraining(lora=LoRAConfig()))


def test_a_model_with_adapters_is_its_config_and_its_state() -> None:
    training = {"text": TowerTraining(lora=LoRAConfig(rank=2, dropout=0.2))}
    config = ModelConfig(dim=8, towers=tiny.TOWERS, training=training)
    first: Any = Model(config)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(0.1)
    second = Model(config).eval()
    second.load_state_dict(first.state_dict())
    values = tiny.batch(present=1.0).columns["text"].values
    assert torch.equal(second.encode("text", values), first.eval().encode("text", values))
