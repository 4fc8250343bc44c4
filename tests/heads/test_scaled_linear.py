"""Vectors that start short."""

from __future__ import annotations

import torch

from mmcontrast.heads.scaled_linear import ScaledLinear


def test_vectors_start_with_a_length_of_about_one_and_the_factor_stays_below() -> None:
    torch.manual_seed(0)
    head = ScaledLinear(ScaledLinear.Config(), width=64, dim=256)
    pooled = torch.randn(100, 64)
    assert 0.8 < float(head(pooled).detach().norm(dim=1).mean()) < 1.2
    torch.nn.init.constant_(head.log_factor, 3.0)
    torch.testing.assert_close(head(pooled), head.layer(pooled))
