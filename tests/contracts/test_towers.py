"""Laws that every registered tower keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.specs import TextSpec
from mmcontrast.towers import TOWERS
from tests.contracts.examples import inputs, tower_config

NAMES = TOWERS.names()


@pytest.fixture
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return tower_config(request.param, tmp_path / "model")


def build(config: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return TOWERS.build(config)


@pytest.mark.parametrize("config", NAMES, indirect=True)
def test_each_row_is_encoded_as_if_alone(config: Any) -> None:
    tower, values = build(config).eval(), inputs(config, 4)
    with torch.no_grad():
        together = tower(values).pooled
        assert together.shape == (4, tower.width)
        for row in range(4):
            torch.testing.assert_close(tower(values[row : row + 1]).pooled[0], together[row], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", NAMES, indirect=True)
def test_rows_do_not_touch_each_other_while_training(config: Any) -> None:
    tower, values = build(config).train(), inputs(config, 4)
    outputs = []
    for others in (values[1:], values[1:].flip(0)):
        torch.manual_seed(1)
        outputs.append(tower(torch.cat([values[:1], others])).pooled[0].detach())
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", NAMES, indirect=True)
def test_evaluation_is_deterministic(config: Any) -> None:
    tower, values = build(config).eval(), inputs(config, 2)
    with torch.no_grad():
        assert torch.equal(tower(values).pooled, tower(values).pooled)


@pytest.mark.parametrize("config", NAMES, indirect=True)
def test_a_gradient_reaches_every_parameter(config: Any) -> None:
    tower, values = build(config).train(), inputs(config, 4)
    with torch.no_grad():  # blocks that start as their shortcut pass nothing to what is inside them
        for parameter in tower.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    tower(values).pooled.square().sum().backward()
    lacking = [name for name, each in tower.named_parameters() if each.requires_grad and each.grad is None]
    assert lacking == []
    assert all(torch.isfinite(each.grad).all() for each in tower.parameters() if each.grad is not None)


@pytest.mark.parametrize("config", NAMES, indirect=True)
def test_bfloat16_is_finite(config: Any) -> None:
    tower, values = build(config).eval(), inputs(config, 2)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.isfinite(tower(values).pooled.float()).all()


@pytest.mark.parametrize("config", NAMES, indirect=True)
def test_padding_on_the_right_changes_no_text(config: Any) -> None:
    if not isinstance(config.input_spec(), TextSpec):
        assert config.modality in ("image", "audio")
        return
    tower, values = build(config).eval(), inputs(config, 4)
    padded = torch.nn.functional.pad(values, (0, 5))
    with torch.no_grad():
        torch.testing.assert_close(tower(padded).pooled, tower(values).pooled, atol=1e-5, rtol=1e-4)
        assert torch.isfinite(tower(torch.zeros(1, 1, dtype=torch.int64)).pooled).all()


@pytest.mark.parametrize("config", NAMES, indirect=True)
def test_shapes_need_no_weights(config: Any) -> None:
    with torch.device("meta"):
        shapes = {name: parameter.shape for name, parameter in build(config).named_parameters()}
    assert shapes == {name: parameter.shape for name, parameter in build(config).named_parameters()}


@pytest.mark.parametrize("config", NAMES, indirect=True)
def test_tokens_have_the_width_that_the_tower_says(config: Any) -> None:
    tower = build(config).eval()
    features = tower(inputs(config, 2))
    assert features.pooled.shape == (2, tower.width)
    if features.tokens is not None:
        assert features.tokens.shape[::2] == (2, tower.token_width)
