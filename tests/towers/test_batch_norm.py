"""Batch norm's stand-ins: rows stay strangers, and trained weights keep their meaning."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from mmcontrast.towers.batch_norm import BatchNormPolicy, replace_batch_norm


def trained(seed: int = 0) -> nn.Module:
    """A small timm ResNet whose batch norms have stored statistics of their own."""
    import timm

    torch.manual_seed(seed)
    model = timm.create_model("resnet10t", pretrained=False, num_classes=0)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(norm.weight, 0.5, 1.0)
    return model.eval()


@pytest.mark.parametrize("policy", get_args(BatchNormPolicy))
def test_rows_do_not_touch_each_other_under_any_policy(policy: BatchNormPolicy) -> None:
    model = trained()
    replace_batch_norm(model.train(), policy)  # as a freshly built tower is
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for mode in (True, False):
        model.train(mode)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        torch.testing.assert_close(model(x)[:1], model(x[:1]), atol=1e-4, rtol=1e-4)  # float32 sums in another order
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_frozen_is_batch_norm_in_evaluation() -> None:
    theirs, ours = trained(), trained()
    replace_batch_norm(ours.train(), "frozen")
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    expected = theirs(x)
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(x), expected, atol=1e-5, rtol=1e-5)
    assert {name for name, _ in ours.named_parameters()} == {name for name, _ in theirs.named_parameters()}
    assert set(ours.state_dict()) == set(theirs.state_dict())


def test_group_norm_keeps_the_trained_gain_and_bias() -> None:
    model = trained()
    gain = model.get_submodule("bn1").weight.detach().clone()
    replace_batch_norm(model, "group")
    assert torch.equal(model.get_submodule("bn1").weight, gain)
