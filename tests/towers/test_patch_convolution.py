"""A convolution by patches equals torch's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mmcontrast.towers.patch_convolution import PatchConvolution, replace_patch_convolutions


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(16, 24), (17, 26)])
def test_values_and_gradients_equal_torch(bias: bool, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, (4, 8), stride=(4, 8), bias=bias)).double()
    pixels = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    expected = _values_and_gradients(model, pixels)
    before = dict(model.named_parameters())
    replace_patch_convolutions(model)
    assert isinstance(model[0], PatchConvolution)
    assert all(parameter is before[name] for name, parameter in model.named_parameters())
    for mine, theirs in zip(_values_and_gradients(model, pixels), expected, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, 3, stride=1),
        nn.Conv2d(3, 4, 4, stride=2),
        nn.Conv2d(3, 4, 4, stride=4, padding=1),
        nn.Conv2d(4, 4, 4, stride=4, groups=2),
        nn.Conv2d(3, 4, 1),
    ],
)
def test_other_convolutions_stay(layer: nn.Conv2d) -> None:
    model = nn.Sequential(layer)
    replace_patch_convolutions(model)
    assert model[0] is layer


def _values_and_gradients(model: nn.Module, pixels: Tensor) -> list[Tensor]:
    values: Tensor = model(pixels)
    return [values, *torch.autograd.grad(values.square().sum(), [pixels, *model.parameters()])]
