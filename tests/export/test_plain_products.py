"""Written-out linear layers and attention compute what torch's do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmcontrast.export.plain_products import FlatLinear, PlainAttention, with_plain_products

ROWS, TOKENS, WIDTH, HEADS = 3, 5, 8, 2


class Reader(nn.Module):
    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first)
        self.linear = nn.Linear(WIDTH, 4)

    def forward(self, values: torch.Tensor, **masks: torch.Tensor) -> torch.Tensor:
        return self.linear(self.attention(values, values, values, need_weights=False, **masks)[0])


def masks(kind: str) -> dict[str, torch.Tensor]:
    causal = torch.full((TOKENS, TOKENS), -torch.inf).triu(1)
    padding = torch.zeros(ROWS, TOKENS, dtype=torch.bool)
    padding[0, 3:] = True
    return {
        "none": {},
        "causal": {"attn_mask": causal},
        "bool": {"attn_mask": causal < 0},
        "padding": {"key_padding_mask": padding},
        "a row and head": {"attn_mask": causal.repeat(ROWS * HEADS, 1, 1)},
    }[kind]


@pytest.mark.parametrize("kind", ["none", "causal", "bool", "padding", "a row and head"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_is_torchs(kind: str, batch_first: bool) -> None:
    torch.manual_seed(0)
    module = Reader(batch_first=batch_first).eval()
    nn.init.normal_(module.attention.in_proj_bias)
    values = torch.randn(ROWS, TOKENS, WIDTH) if batch_first else torch.randn(TOKENS, ROWS, WIDTH)
    plain = with_plain_products(module)
    assert type(plain.attention) is PlainAttention and type(plain.linear) is FlatLinear
    assert type(module.attention) is nn.MultiheadAttention  # the module itself stays
    with torch.no_grad():
        torch.testing.assert_close(plain(values, **masks(kind)), module(values, **masks(kind)), atol=1e-6, rtol=1e-5)


def test_attention_to_something_else_is_left_to_torch() -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval()
    query, memory = torch.randn(ROWS, 2, WIDTH), torch.randn(ROWS, TOKENS, WIDTH)
    plain = with_plain_products(module)
    with torch.no_grad():
        torch.testing.assert_close(plain(query, memory, memory)[0], module(query, memory, memory)[0])
