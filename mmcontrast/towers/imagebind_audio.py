"""ImageBind's audio tower: a ViT on overlapping patches of filter banks, with one more key in its attention."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Lt
from jaxtyping import Float
from torch import Tensor, nn

from mmcontrast.config import Count, NonNegativeCount, Positive, config
from mmcontrast.front_ends import AnyFrontEnd
from mmcontrast.front_ends.presets import ImageBind
from mmcontrast.specs import AudioSpec, ClipLength
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout, layout_of
from mmcontrast.towers.spectrogram import SpectrogramTower
from mmcontrast.types import Features

EPSILON = 1e-6  # of the norms in and after the blocks


@TOWERS.register("imagebind_audio")
class ImageBindAudio(SpectrogramTower):
    """A pre-norm ViT whose attention also sees one learned key and value; pooled at its class token.

    A longer sound is the mean of three windows: at its start, in its middle, at its end.

    Source: Girdhar et al. 2023, arXiv:2305.05665, with the sizes of its published code; the audio tower is AST's (Gong
    et al. 2021, arXiv:2104.01778) on two seconds.
    """

    @config
    class Config:
        """Fields of the tower; the defaults are ImageBind-Huge's."""

        modality: ClassVar[str] = "audio"
        seconds: Positive = 2.0  # length of the window
        length: ClipLength = ClipLength(
            long="windows", most_windows=3, fewest_windows=3
        )  # of shorter and longer sounds
        mel: AnyFrontEnd = ImageBind.Config()
        patch: Count = 16  # mels and frames of a patch's side
        stride: Count = 10  # mels and frames from one patch to the next
        width: Count = 768
        layers: Count = 12
        heads: Count = 12
        mlp_width: Count | None = None  # channels inside of a block's MLP; null: four times the width
        drop_path: Annotated[float, Ge(0), Lt(1)] = 0.1  # stochastic depth of the last block; linear from 0
        mask_mels: NonNegativeCount = 0  # widest band of mels masked in training
        mask_frames: NonNegativeCount = 0  # longest run of frames masked in training

        def __post_init__(self) -> None:
            if self.width % self.heads:
                raise ValueError(f"width {self.width} is not a multiple of heads = {self.heads}.")
            if min(self.grid()) < 1:
                raise ValueError("the spectrogram is smaller than a patch. Use more mels or seconds.")

        def input_spec(self) -> AudioSpec:
            """Waveforms of ``seconds`` at the front end's rate."""
            return AudioSpec(sample_rate_hz=self.mel.sample_rate_hz, seconds=self.seconds, length=self.length)

        def grid(self) -> tuple[int, int]:
            """Rows (mels) and columns (frames) of patches."""
            frames = self.mel.frames(self.input_spec().samples)
            rows, columns = ((side - self.patch) // self.stride + 1 for side in (self.mel.mels, frames))
            return rows, columns

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        width = self.width = config.width
        rows, columns = config.grid()
        self.patches = nn.Conv2d(1, width, config.patch, stride=config.stride, bias=False)
        self.patch_norm = nn.LayerNorm(width)
        self.class_token = nn.Parameter(width**-0.5 * torch.randn(1, 1, width))
        self.positions = nn.Parameter(width**-0.5 * torch.randn(1, 1 + rows * columns, width))
        rates = torch.linspace(0, config.drop_path, config.layers, device="cpu").tolist()
        mlp_width = config.mlp_width or 4 * width
        self.blocks = nn.ModuleList(
            Block(width, heads=config.heads, mlp_width=mlp_width, drop_path=rate) for rate in rates
        )
        self.norm = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, values: Float[Tensor, "B samples"]) -> Features:
        """Encode mono waveforms; the tokens are those of patches."""
        mel = self.spectrogram(values)
        x = self.patch_norm(self.patches(mel[:, None]).flatten(2).transpose(1, 2))
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        x = self.norm(self.through(self.blocks, x))
        return Features(x[:, 0], x[:, 1:])

    def layout(self) -> Layout:
        """Patches, class and places; blocks; the last norm."""
        start = ["patches", "patch_norm", "class_token", "positions"]
        return layout_of(self, embeddings=start, blocks=[[f"blocks.{number}"] for number in range(len(self.blocks))])


class Block(nn.Module):
    """Attention with a learned key and value beside those of the tokens, and an MLP, each after a layer norm."""

    def __init__(self, width: int, *, heads: int, mlp_width: int, drop_path: float) -> None:
        super().__init__()
        from timm.layers import DropPath

        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=EPSILON), nn.LayerNorm(width, eps=EPSILON)
        self.attn = nn.MultiheadAttention(width, heads, add_bias_kv=True, batch_first=True)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, mlp_width), "fc2": nn.Linear(mlp_width, width)})
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "B T width"]) -> Float[Tensor, "B T width"]:
        """Mix tokens, then channels."""
        normed = self.norm_1(x)
        x = x + self.drop_path(self.attn(normed, normed, normed, need_weights=False)[0])
        hidden = nn.functional.gelu(self.mlp["fc1"](self.norm_2(x)))
        return x + self.drop_path(self.mlp["fc2"](hidden))
