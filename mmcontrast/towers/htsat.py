"""HTSAT: a Swin transformer on folded log-mel spectrograms, in the key layout of LAION-CLAP's audio branch."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Lt
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmcontrast.config import Count, NonNegativeCount, Positive, config
from mmcontrast.front_ends import AnyFrontEnd
from mmcontrast.front_ends.log_mel import LogMelConfig
from mmcontrast.specs import AudioSpec, ClipLength
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout, layout_of
from mmcontrast.towers.mel_norm import MelNormTower
from mmcontrast.towers.patch_convolution import PatchConvolution
from mmcontrast.towers.swin import SwinStage
from mmcontrast.types import Features

LAION_MEL = LogMelConfig(
    sample_rate_hz=48_000,
    fft_samples=1024,
    window_samples=1024,
    hop_samples=480,
    mels=64,
    low_hz=50.0,
    high_hz=14_000.0,
)

# Channels of the first stage, and blocks of each stage.
VARIANTS = {"tiny": (96, (2, 2, 6, 2)), "base": (128, (2, 2, 12, 2)), "large": (256, (2, 2, 12, 2))}


@TOWERS.register("htsat")
class HTSAT(MelNormTower):
    """Hierarchical token-semantic audio transformer, without its classifier.

    The spectrogram is resized in time to ``(size / mels) * size`` frames, cut into ``size / mels`` runs that are
    stacked above each other into a square picture, and read by a Swin transformer.  Pooled features are the mean of
    the last tokens.  ``bn0``, a batch norm per mel band, keeps its stored statistics: rows must not touch each other.
    LAION's files hold statistics of plain decibels: for them, ``mel: {type: laion}``.

    Source: Chen et al. 2022, arXiv:2202.00874; sizes as in LAION-CLAP (Wu et al. 2022, arXiv:2211.06687).
    """

    before_blocks: ClassVar[tuple[str, ...]] = ("bn0", "patch_embed")  # modules that the input meets first

    @config
    class Config:
        """Fields of the tower; the defaults are LAION-CLAP's HTSAT-tiny."""

        modality: ClassVar[str] = "audio"
        seconds: Positive = 10.0  # length of the window
        length: ClipLength = ClipLength()  # what is heard of shorter and of longer sounds
        mel: AnyFrontEnd = LAION_MEL
        size: Count = 256  # side of the folded picture, a multiple of the mels
        patch: Count = 4  # pixels of a patch's side
        variant: Literal["tiny", "base", "large"] = "tiny"  # LAION-CLAP's: 768, 1024 or 2048 pooled features
        width: Count | None = None  # channels of the first stage; null: the variant's 96, 128 or 256
        depths: tuple[Count, ...] | None = None  # blocks of each stage; null: the variant's
        heads: tuple[Count, ...] = (4, 8, 16, 32)
        window: Count = 8  # patches of an attention window's side
        drop_path: Annotated[float, Ge(0), Lt(1)] = 0.0  # stochastic depth of the last block; linear from 0
        mask_mels: NonNegativeCount = 0  # widest band of mels masked in training
        mask_frames: NonNegativeCount = 0  # longest run of frames masked in training

        def __post_init__(self) -> None:
            depths = self.stages()
            if len(depths) != len(self.heads):
                raise ValueError("depths and heads need the same number of stages.")
            if self.size % self.mel.mels:
                raise ValueError(f"size {self.size} is not a multiple of {self.mel.mels} mels.")
            if self.size % (self.patch * 2 ** (len(depths) - 1)):
                raise ValueError(f"size {self.size} cannot be halved {len(depths) - 1} times after patching.")

        def channels(self) -> int:
            """Channels of the first stage."""
            return self.width or VARIANTS[self.variant][0]

        def stages(self) -> tuple[int, ...]:
            """Blocks of each stage."""
            return self.depths or VARIANTS[self.variant][1]

        def input_spec(self) -> AudioSpec:
            """Waveforms of ``seconds`` at the front end's rate."""
            return AudioSpec(sample_rate_hz=self.mel.sample_rate_hz, seconds=self.seconds, length=self.length)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        first, depths = config.channels(), config.stages()
        self.patch_embed: nn.Module = PatchEmbed(config.patch, first)
        grid = config.size // config.patch
        rates = torch.linspace(0, config.drop_path, sum(depths), device="cpu").tolist()
        self.layers = nn.ModuleList()
        for stage, (depth, heads) in enumerate(zip(depths, config.heads, strict=True)):
            self.layers.append(
                SwinStage(
                    first * 2**stage,
                    grid=grid // 2**stage,
                    heads=heads,
                    window=config.window,
                    drop_paths=[rates.pop(0) for _ in range(depth)],
                    downsample=stage < len(depths) - 1,
                )
            )
        self.width = first * 2 ** (len(depths) - 1)
        self.norm = nn.LayerNorm(self.width)

    def forward(self, values: Float[Tensor, "B samples"]) -> Features:
        """Encode mono waveforms."""
        return self.read(self.patch_embed(self.fold(self.normed_mel(values))))

    def read(self, x: Float[Tensor, "B patches width"]) -> Features:
        """Encode embedded patches."""
        for stage in self.layers:
            x = stage(x, self.through)
        tokens = self.norm(x)
        return Features(tokens.mean(dim=1), tokens)

    def adopt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take LAION-CLAP's audio branch but its front end and classifier."""
        branch = {key.partition("audio_branch.")[2]: value for key, value in state.items() if "audio_branch." in key}
        others = ("spectrogram_extractor.", "logmel_extractor.", "tscam_conv.", "head.")
        return {name: value for name, value in (branch or state).items() if not name.startswith(others)}

    def layout(self) -> Layout:
        """Norm of the mels and patches; Swin blocks, each stage's last one with the halving; the last norm."""
        blocks = []
        for stage, depth in enumerate(self.config.stages()):
            blocks += [[f"layers.{stage}.blocks.{number}"] for number in range(depth)]
            blocks[-1].append(f"layers.{stage}.downsample")
        return layout_of(self, embeddings=self.before_blocks, blocks=blocks)

    def fold(self, mel: Float[Tensor, "B M frames"]) -> Float[Tensor, "B 1 size size"]:
        """Resize in time and stack runs of frames above each other."""
        size, mels = self.config.size, self.config.mel.mels
        runs = size // mels
        if mel.shape[2] != runs * size:
            # LAION resizes (frames, mels) pictures, so frames are the first axis here too.
            shape = (runs * size, mels)
            mel = interpolate(mel.transpose(1, 2)[:, None], size=shape, mode="bicubic", align_corners=True)
            mel = mel[:, 0].transpose(1, 2)
        rows = mel.shape[0]
        return mel.reshape(rows, mels, runs, size).transpose(1, 2).reshape(rows, 1, size, size)


class PatchEmbed(nn.Module):
    """Patches to vectors, layer-normed."""

    def __init__(self, patch: int, width: int, *, pictures: int = 1) -> None:
        super().__init__()
        self.proj = PatchConvolution(pictures, width, patch, stride=patch)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "B pictures H W"]) -> Float[Tensor, "B T width"]:
        """Embed a picture's patches, row by row."""
        return self.norm(self.proj(x).flatten(2).transpose(1, 2))
