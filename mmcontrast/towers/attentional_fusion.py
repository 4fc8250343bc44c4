"""Two maps of features become one: by their sum, or by weights that attention makes of it.

Letters: C channels; a map has one further axis (time) or two (mels and time).
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from mmcontrast.towers.batch_norm import replace_batch_norm

Way = Literal["daf", "aff", "iaff"]
LAYERS: dict[int, tuple[type[nn.Module], type[nn.Module], type[nn.Module]]] = {
    1: (nn.Conv1d, nn.BatchNorm1d, nn.AdaptiveAvgPool1d),
    2: (nn.Conv2d, nn.BatchNorm2d, nn.AdaptiveAvgPool2d),
}


def fusion_of(way: Way, channels: int, *, axes: int) -> nn.Module:
    """One of the three, with the names of LAION-CLAP's weights; batch norms keep their stored statistics.

    Source: Dai et al. 2020, arXiv:2009.14082, equations 2 to 4.
    """
    made: nn.Module
    if way == "daf":
        made = Sum()
    else:
        made = (Attentional if way == "aff" else TwiceAttentional)(channels, axes=axes)
    replace_batch_norm(made, "frozen")
    return made


class Sum(nn.Module):
    """Direct addition."""

    def forward(self, x: Float[Tensor, "B C *places"], y: Float[Tensor, "B C *places"]) -> Tensor:
        """Fuse two maps."""
        return x + y


class Attentional(nn.Module):
    """Attentional feature fusion: each place and channel is a mean of both, weighted by what the sum of both says."""

    def __init__(self, channels: int, *, axes: int) -> None:
        super().__init__()
        self.local_att = attention(channels, axes=axes)
        self.global_att = attention(channels, axes=axes, pooled=True)

    def forward(self, x: Float[Tensor, "B C *places"], y: Float[Tensor, "B C *places"]) -> Tensor:
        """Fuse two maps."""
        both = x + y
        weight = (self.local_att(both) + self.global_att(both)).sigmoid()
        return 2 * x * weight + 2 * y * (1 - weight)


class TwiceAttentional(nn.Module):
    """Iterative attentional feature fusion: what a first round fused says how a second one weighs."""

    def __init__(self, channels: int, *, axes: int) -> None:
        super().__init__()
        self.local_att, self.local_att2 = attention(channels, axes=axes), attention(channels, axes=axes)
        self.global_att = attention(channels, axes=axes, pooled=True)

    def forward(self, x: Float[Tensor, "B C *places"], y: Float[Tensor, "B C *places"]) -> Tensor:
        """Fuse two maps."""
        both = x + y
        for local in (self.local_att, self.local_att2):
            weight = (local(both) + self.global_att(both)).sigmoid()
            both = x * weight + y * (1 - weight)
        return both


def attention(channels: int, *, axes: int, pooled: bool = False) -> nn.Sequential:
    """Two convolutions of single places, or of the mean of all, with a quarter of the channels between them."""
    convolution, norm, mean = LAYERS[axes]
    inner = max(1, channels // 4)
    return nn.Sequential(
        *([mean(1)] if pooled else []),
        convolution(channels, inner, 1),
        norm(inner),
        nn.ReLU(inplace=True),
        convolution(inner, channels, 1),
        norm(channels),
    )
