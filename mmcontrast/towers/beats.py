"""BEATs: a transformer on patches of filter banks, whose attention is biased by gated relative positions.

Letters: L tokens, H heads.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Lt
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from mmcontrast.config import Count, NonNegativeCount, Positive, config
from mmcontrast.front_ends import AnyFrontEnd
from mmcontrast.front_ends.presets import BEATs as FrontEnd
from mmcontrast.specs import AudioSpec, ClipLength
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout, layout_of
from mmcontrast.towers.spectrogram import SpectrogramTower
from mmcontrast.types import Features


@TOWERS.register("beats")
class BEATs(SpectrogramTower):
    """A post-norm transformer on patches that do not overlap, read row by row in time; pooled by their mean.

    Places are told by a convolution over the tokens, and by a bias of each pair's distance in the attention, which
    every layer scales with a gate made of the query.

    Source: Chen et al. 2022, arXiv:2212.09058; gates as in WavLM (Chen et al. 2021, arXiv:2110.13900, equations 2 to
    4), residuals as in DeepNet (Wang et al. 2022, arXiv:2203.00555).  Published fine-tuned models classify the mean
    of the scores of all tokens, which is the score of their mean.
    """

    @config
    class Config:
        """Fields of the tower; the defaults are those of the published models."""

        modality: ClassVar[str] = "audio"
        seconds: Positive = 10.0  # length of the window
        length: ClipLength = ClipLength()  # what is heard of shorter and of longer sounds
        mel: AnyFrontEnd = FrontEnd.Config()
        patch: Count = 16  # mels and frames of a patch's side
        patch_width: Count = 512  # channels of a patch before the transformer
        width: Count = 768
        layers: Count = 12
        heads: Count = 12
        mlp_width: Count = 3072
        position_filters: Count = 128  # tokens that the convolution of places sees
        position_groups: Count = 16  # of its channels
        buckets: Count = 320  # of distances
        max_distance: Count = 800  # tokens; those further apart share a bucket
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0  # of branches and of what enters the first layer
        layer_drop: Annotated[float, Ge(0), Lt(1)] = 0.0  # share of rows that skip a layer in training
        mask_mels: NonNegativeCount = 0  # widest band of mels masked in training
        mask_frames: NonNegativeCount = 0  # longest run of frames masked in training

        def __post_init__(self) -> None:
            for name in ("heads", "position_groups"):
                if self.width % getattr(self, name):
                    raise ValueError(f"width {self.width} is not a multiple of {name} = {getattr(self, name)}.")
            if self.buckets < 4 or self.max_distance <= self.buckets // 4:
                raise ValueError("max_distance must be over a quarter of the buckets, of which there are at least 4.")
            if min(self.mel.mels, self.mel.frames(self.samples())) < self.patch:
                raise ValueError("the spectrogram is smaller than a patch. Use more mels or seconds.")

        def samples(self) -> int:
            """Length of the window."""
            return self.input_spec().samples

        def input_spec(self) -> AudioSpec:
            """Waveforms of ``seconds`` at the front end's rate."""
            return AudioSpec(sample_rate_hz=self.mel.sample_rate_hz, seconds=self.seconds, length=self.length)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        width = self.width = config.width
        self.patch_embedding = nn.Conv2d(1, config.patch_width, config.patch, stride=config.patch, bias=False)
        self.layer_norm = nn.LayerNorm(config.patch_width)
        same = config.patch_width == width
        self.post_extract_proj = nn.Identity() if same else nn.Linear(config.patch_width, width)
        filters = config.position_filters
        self.places = nn.Conv1d(width, width, filters, padding=filters // 2, groups=config.position_groups)
        nn.init.normal_(self.places.weight, std=math.sqrt(4 / (filters * width)))
        nn.init.zeros_(self.places.bias)  # type: ignore[arg-type]
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.distances = nn.Embedding(config.buckets, config.heads)
        nn.init.xavier_normal_(self.distances.weight)
        tokens = math.prod(side // config.patch for side in (config.mel.mels, config.mel.frames(config.samples())))
        bucket = buckets_of(tokens, buckets=config.buckets, max_distance=config.max_distance)
        self.register_buffer("bucket", bucket, persistent=False)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def forward(self, values: Float[Tensor, "B samples"]) -> Features:
        """Encode mono waveforms; the tokens are patches, all mels of a time before the next."""
        mel = self.spectrogram(values)
        x = self.patch_embedding(mel.transpose(1, 2)[:, None]).flatten(2).transpose(1, 2)  # (B, L, patch_width)
        x = self.post_extract_proj(self.layer_norm(x))
        near = gelu(self.places(x.transpose(1, 2))[:, :, : x.shape[1]]).transpose(1, 2)
        x = self.dropout(self.norm(x + near))
        bias = self.distances(self.bucket).permute(2, 0, 1)  # (H, L, L)
        x = self.through(self.layers, x, bias)
        return Features(x.mean(dim=1), x)

    def layout(self) -> Layout:
        """Patches and places; layers."""
        start = ["patch_embedding", "layer_norm", "post_extract_proj", "places", "norm", "distances"]
        return layout_of(self, embeddings=start, blocks=[[f"layers.{number}"] for number in range(len(self.layers))])


class Layer(nn.Module):
    """Attention with a gated bias, then an MLP; a norm after each, their shortcuts scaled up."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.width
        self.heads, self.drop = config.heads, config.layer_drop
        self.shortcut = (2 * config.layers) ** 0.25
        parts = {f"{name}_proj": nn.Linear(width, width) for name in ("q", "k", "v", "out")}
        self.self_attn = nn.ModuleDict({**parts, "grep_linear": nn.Linear(width // config.heads, 8)})
        self.gate_scale = nn.Parameter(torch.ones(1, config.heads, 1, 1))
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, config.mlp_width), nn.Linear(config.mlp_width, width)
        self.dropout = nn.Dropout(config.dropout)
        gain = (8 * config.layers) ** -0.25
        for layer in (parts["v_proj"], parts["out_proj"], self.fc1, self.fc2):
            nn.init.xavier_normal_(layer.weight, gain=gain)
        for layer in (*parts.values(), self.fc1, self.fc2):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "B L width"], bias: Float[Tensor, "H L L"]) -> Float[Tensor, "B L width"]:
        """Mix tokens, then channels."""
        y = self.self_attn_layer_norm(self.shortcut * x + self.dropout(self.attended(x, bias)))
        y = self.final_layer_norm(self.shortcut * y + self.dropout(self.fc2(gelu(self.fc1(y)))))
        if not self.training or self.drop == 0.0:
            return y
        kept = torch.rand(len(x), 1, 1, device=x.device) >= self.drop
        return torch.where(kept, y, x)

    def attended(self, x: Float[Tensor, "B L width"], bias: Float[Tensor, "H L L"]) -> Float[Tensor, "B L width"]:
        """Attention whose bias each query scales by a number between 0 and, mostly, 2."""
        parts = self.self_attn
        query, key, value = (parts[f"{name}_proj"](x).unflatten(2, (self.heads, -1)).transpose(1, 2) for name in "qkv")
        # Eight numbers of a query, summed by fours.
        one, two = parts["grep_linear"](query).unflatten(3, (2, 4)).sum(dim=4).sigmoid().chunk(2, dim=3)
        gate = one * (two * self.gate_scale - 1) + 2  # (B, H, L, 1)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=(gate * bias).to(query.dtype))
        return parts["out_proj"](mixed.transpose(1, 2).flatten(2))


def buckets_of(tokens: int, *, buckets: int, max_distance: int) -> Int[Tensor, "L L"]:
    """Bucket of each pair's distance: half of them for later keys; near ones apart, far ones by their logarithm.

    Source: Raffel et al. 2019, arXiv:1910.10683, section 2.1.
    """
    with torch.device("cpu"):
        places = torch.arange(tokens)
        distance = places[None, :] - places[:, None]
        half = buckets // 2
        exact = half // 2
        far = distance.abs().clamp_min(1).float() / exact
        grown = (far.log() / math.log(max_distance / exact) * (half - exact)).long() + exact
        found = torch.where(distance.abs() < exact, distance.abs(), grown.clamp_max(half - 1))
        return found + half * (distance > 0)
