"""MS-CLAP's projection."""

from __future__ import annotations

import torch

from mmcontrast.heads.residual import Residual
from tests.towers.peer_modules import peer_module


def built() -> Residual:
    torch.manual_seed(0)
    return Residual(Residual.Config(), width=6, dim=4)


def test_it_is_the_formula() -> None:
    head, x = built().eval(), torch.randn(3, 6)
    first = x @ head.linear1.weight.T
    gelu = first * 0.5 * (1 + torch.erf(first / 2**0.5))
    total = first + gelu @ head.linear2.weight.T
    mean, var = total.mean(dim=1, keepdim=True), total.var(dim=1, keepdim=True, unbiased=False)
    torch.testing.assert_close(head(x), (total - mean) / (var + 1e-5).sqrt())


def test_it_is_ms_claps() -> None:
    head, x = built().eval(), torch.randn(3, 6)
    with peer_module("msclap", "models.clap") as peer:
        theirs = peer.Projection(6, 4).eval()
    theirs.load_state_dict(head.state_dict())
    torch.testing.assert_close(head(x), theirs(x))


def test_dropout_is_of_training_alone() -> None:
    head, x = built(), torch.randn(3, 6)
    assert not torch.equal(head.train()(x), head(x))
    assert torch.equal(head.eval()(x), head(x))
