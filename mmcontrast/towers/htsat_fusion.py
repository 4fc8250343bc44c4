"""HTSAT that reads sounds longer than its window: the whole, shrunk, and three chunks of it, fused."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from mmcontrast.config import config
from mmcontrast.front_ends import AnyFrontEnd
from mmcontrast.front_ends.fusion import Fusion
from mmcontrast.specs import AudioSpec
from mmcontrast.towers import TOWERS
from mmcontrast.towers.attentional_fusion import Way, fusion_of
from mmcontrast.towers.batch_norm import replace_batch_norm
from mmcontrast.towers.htsat import HTSAT, LAION_MEL, PatchEmbed
from mmcontrast.towers.patch_convolution import PatchConvolution
from mmcontrast.types import Features, Values

# Letters here: C channels, h w patches along mels and time.

LAION_FUSION_MEL = dataclasses.replace(LAION_MEL, scale="htk", norm="none")
FusionKind = Literal["aff_2d", "daf_2d", "iaff_2d", "aff_1d", "daf_1d", "iaff_1d", "channel_map"]


@TOWERS.register("htsat_fusion")
class HTSATFusion(HTSAT):
    """HTSAT that fuses the whole sound with chunks of it, in rows that are longer: patches, or (1d) spectrograms.

    ``channel_map`` instead reads the four as the channels of a picture, whether a row is longer or not.

    Values are the ``mels`` and ``longer`` of :mod:`mmcontrast.front_ends.fusion`, or waveforms of one window, none of
    which is longer.  LAION's files: ``mel: {type: laion_fusion}``.

    Relations: :class:`HTSAT` where no row is longer, but for ``channel_map``.  LAION-CLAP's training marks a random
    row where none is, so that every weight has a gradient; here it has one of zero, and rows stay strangers.  Batch
    norms, ``bn0`` and those of the fusion, keep their stored statistics.

    Source: Wu et al. 2022, arXiv:2211.06687, section 3.3; Dai et al. 2020, arXiv:2009.14082, equations 2 to 4.  In
    ``iaff_2d`` and ``iaff_1d`` both rounds share LAION-CLAP's global attention: its second one is never read.
    """

    before_blocks = ("bn0", "mel_conv1d", "fusion_model", "patch_embed")

    @config
    class Config(HTSAT.Config):
        """Fields of the tower; the defaults are those of LAION's 630k-fusion files."""

        mel: AnyFrontEnd = LAION_FUSION_MEL
        fusion: FusionKind = "aff_2d"  # attentional, by a sum alone, or attentional twice; patches or spectrograms
        antialias: bool = True  # in the shrinking of the whole sound

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.length.long != "start":
                raise ValueError("length.long has no effect: all of a long sound is heard. Leave it out.")

        def input_spec(self) -> AudioSpec:
            """Four spectrograms of sounds of any length."""
            four = Fusion(mel=self.mel, antialias=self.antialias)
            rate_hz = self.mel.sample_rate_hz
            return AudioSpec(sample_rate_hz=rate_hz, seconds=self.seconds, length=self.length, fusion=four)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.patch_embed = patch_embed_of(config)
        self.mel_conv1d: nn.Module | None = None
        self.fusion_model: nn.Module | None = None
        if config.fusion.endswith("_1d"):
            mels = config.mel.mels
            # Three frames of a chunk become one, so that the chunks side by side are as long as the whole.
            convolution = nn.Conv1d(mels, mels, kernel_size=5, stride=3, padding=2)
            self.mel_conv1d = nn.Sequential(convolution, nn.BatchNorm1d(mels))
            replace_batch_norm(self.mel_conv1d, "frozen")
            self.fusion_model = fusion_of(config.fusion.removesuffix("_1d"), mels, axes=1)

    def forward(self, values: Values) -> Features:
        """Encode a map of ``mels``, (B, 4, M, frames), and ``longer``, (B,), or mono waveforms, (B, samples)."""
        if isinstance(values, dict):
            mels, longer = values["mels"], values["longer"]
        else:
            mels = self.mel(values)[:, None].expand(-1, 4, -1, -1)
            longer = torch.zeros(len(mels), dtype=torch.bool, device=mels.device)
        mels = self.bn0(mels.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # bn0 reads (B, M, frames, 4)
        if self.mel_conv1d is not None:
            mels = self.fused(mels, longer)[:, None]
        mels = self.masked(mels.flatten(0, 1)).view_as(mels)
        pictures = self.fold(mels.flatten(0, 1))[:, 0].unflatten(0, (-1, mels.shape[1]))  # (B, 4 or 1, size, size)
        fused_at_patches = isinstance(self.patch_embed, FusedPatchEmbed)
        return self.read(self.patch_embed(pictures, longer) if fused_at_patches else self.patch_embed(pictures))

    def fused(self, mels: Float[Tensor, "B 4 M frames"], longer: Bool[Tensor, " B"]) -> Float[Tensor, "B M frames"]:
        """The whole's spectrogram, with the chunks' in the rows that are longer."""
        assert self.mel_conv1d is not None and self.fusion_model is not None
        whole = mels[:, 0]
        chunks = self.mel_conv1d(mels[:, 1:].flatten(0, 1)).unflatten(0, (-1, 3))  # (B, 3, M, frames // 3)
        beside = chunks.transpose(1, 2).flatten(2)
        beside = pad(beside, (0, whole.shape[2] - beside.shape[2]))  # a negative number cuts
        return torch.where(longer[:, None, None], self.fusion_model(whole, beside), whole)

    def adopt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take LAION-CLAP's audio branch but its front end, its classifier and what it never reads."""
        unread = ("patch_embed.fusion_model.global_att2.", "fusion_model.global_att2.")
        return {name: value for name, value in super().adopt(state).items() if not name.startswith(unread)}


def patch_embed_of(config: Any) -> nn.Module:
    """How pictures become patches."""
    if config.fusion.endswith("_2d"):
        return FusedPatchEmbed(config.patch, config.channels(), config.fusion.removesuffix("_2d"))
    return PatchEmbed(config.patch, config.channels(), pictures=4 if config.fusion == "channel_map" else 1)


class FusedPatchEmbed(nn.Module):
    """Patches of a whole and of three chunks, fused; the names of weights are PatchEmbed's and the fusion's."""

    def __init__(self, patch: int, width: int, way: Way) -> None:
        super().__init__()
        self.proj = PatchConvolution(1, width, patch, stride=patch)
        self.norm = nn.LayerNorm(width)
        # Three patches of a chunk's time become one, so that the chunks side by side are as long as the whole.
        self.mel_conv2d = PatchConvolution(1, width, (patch, 3 * patch), stride=(patch, 3 * patch))
        self.fusion_model = fusion_of(way, width, axes=2)

    def forward(self, x: Float[Tensor, "B 4 H W"], longer: Bool[Tensor, " B"]) -> Float[Tensor, "B T width"]:
        """Embed the whole's patches, with the chunks' in the rows that are longer."""
        whole = self.proj(x[:, :1])  # (B, C, h, w)
        chunks = self.mel_conv2d(x[:, 1:].flatten(0, 1)[:, None]).unflatten(0, (-1, 3))  # (B, 3, C, h, w // 3)
        beside = chunks.permute(0, 2, 3, 1, 4).flatten(3)
        beside = pad(beside, (0, whole.shape[3] - beside.shape[3]))
        fused = torch.where(longer[:, None, None, None], self.fusion_model(whole, beside), whole)
        return self.norm(fused.flatten(2).transpose(1, 2))
