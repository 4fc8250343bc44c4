"""Laws of the text towers that read vectors before a caption's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from mmcontrast.towers import TOWERS
from mmcontrast.towers.prompts import ReadsPrompts
from tests.contracts.examples import inputs, tower_config

NAMES = [name for name in TOWERS.names() if issubclass(TOWERS.get(name), ReadsPrompts)]


@pytest.fixture(params=NAMES)
def tower(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    torch.manual_seed(0)
    return TOWERS.build(tower_config(request.param, tmp_path / "model")).eval()


def prompts_like(tower: Any, values: Tensor, count: int) -> Tensor:
    words = tower.words(values)
    generator = torch.Generator().manual_seed(1)
    return words.detach().std() * torch.randn(len(values), count, words.shape[-1], generator=generator)


def test_no_prompts_change_nothing(tower: Any) -> None:
    values = inputs(tower.config, 4)
    with torch.no_grad():
        found, plain = tower.prompted(values, prompts_like(tower, values, 0)), tower(values)
        torch.testing.assert_close(found.pooled, plain.pooled)
        torch.testing.assert_close(found.tokens, plain.tokens)


def test_prompted_rows_are_encoded_as_if_alone_and_padding_changes_none(tower: Any) -> None:
    values = inputs(tower.config, 4)
    prompts = prompts_like(tower, values, 3)
    with torch.no_grad():
        together = tower.prompted(values, prompts)
        assert together.tokens.shape[:2] == (4, values.shape[1] + 3) and together.token_mask[:, :3].all()
        torch.testing.assert_close(
            tower.prompted(pad(values, (0, 3)), prompts).pooled, together.pooled, atol=1e-5, rtol=1e-4
        )
        for row in range(4):
            alone = tower.prompted(values[row : row + 1], prompts[row : row + 1]).pooled[0]
            torch.testing.assert_close(alone, together.pooled[row], atol=1e-5, rtol=1e-4)


def test_each_prompt_moves_the_caption_and_gets_a_gradient(tower: Any) -> None:
    values = inputs(tower.config, 2)
    prompts = prompts_like(tower, values, 3).requires_grad_()
    pooled = tower.requires_grad_(False).prompted(values, prompts).pooled
    (pooled * torch.randn(pooled.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert prompts.grad is not None and (prompts.grad.abs().amax(dim=2) > 0).all()
    assert (pooled - tower(values).pooled).abs().amax() > 1e-4
