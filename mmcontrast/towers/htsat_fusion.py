"""HTSAT that reads sounds longer than its window: the whole, shrunk, and three chunks of it, fused at the patches."""

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
from mmcontrast.towers.batch_norm import replace_batch_norm
from mmcontrast.towers.htsat import HTSAT, LAION_MEL
from mmcontrast.towers.patch_convolution import PatchConvolution
from mmcontrast.towers.small_audio_cnn import mask_spectrogram
from mmcontrast.types import Features, Values

# Letters here: C channels, h w patches along mels and time.

LAION_FUSION_MEL = dataclasses.replace(LAION_MEL, scale="htk", norm="none")
FusionKind = Literal["aff_2d", "daf_2d", "iaff_2d"]


@TOWERS.register("htsat_fusion")
class HTSATFusion(HTSAT):
    """HTSAT whose patches of the whole sound are fused with those of its chunks, in rows that are longer.

    Values are the ``mels`` and ``longer`` of :mod:`mmcontrast.front_ends.fusion`, or waveforms of one window, none of
    which is longer.  LAION's files: ``mel: {type: laion_fusion}``.

    Relations: :class:`HTSAT` where no row is longer.  LAION-CLAP's training marks a random row where none is, so that
    every weight has a gradient; here it has one of zero, and rows stay strangers.  Its batch norms, ``bn0`` and those
    of the fusion, keep their stored statistics.

    Source: Wu et al. 2022, arXiv:2211.06687, section 3.3; Dai et al. 2020, arXiv:2009.14082, equations 2 to 4.  In
    ``iaff_2d`` both rounds share LAION-CLAP's global attention: its second one is never read.
    """

    @config
    class Config(HTSAT.Config):
        """Fields of the tower; the defaults are those of LAION's 630k-fusion files."""

        mel: AnyFrontEnd = LAION_FUSION_MEL
        fusion: FusionKind = "aff_2d"  # attentional, by a sum alone, or attentional twice
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
        self.patch_embed = FusedPatchEmbed(config.patch, config.channels(), config.fusion)

    def forward(self, values: Values) -> Features:
        """Encode a map of ``mels``, (B, 4, M, frames), and ``longer``, (B,), or mono waveforms, (B, samples)."""
        if isinstance(values, dict):
            mels, longer = values["mels"], values["longer"]
        else:
            mels = self.mel(values)[:, None].expand(-1, 4, -1, -1)
            longer = torch.zeros(len(mels), dtype=torch.bool, device=mels.device)
        mels = self.bn0(mels.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # bn0 reads (B, M, frames, 4)
        if self.training:
            masked = mask_spectrogram(mels.flatten(0, 1), mels=self.config.mask_mels, frames=self.config.mask_frames)
            mels = masked.view_as(mels)
        pictures = self.fold(mels.flatten(0, 1))[:, 0].unflatten(0, (-1, 4))  # (B, 4, size, size)
        return self.read(self.patch_embed(pictures, longer))

    def adopt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take LAION-CLAP's audio branch but its front end, its classifier and what it never reads."""
        unread = "patch_embed.fusion_model.global_att2."
        return {name: value for name, value in super().adopt(state).items() if not name.startswith(unread)}


class FusedPatchEmbed(nn.Module):
    """Patches of a whole and of three chunks, fused; the names of weights are PatchEmbed's and the fusion's."""

    def __init__(self, patch: int, width: int, fusion: FusionKind) -> None:
        super().__init__()
        self.proj = PatchConvolution(1, width, patch, stride=patch)
        self.norm = nn.LayerNorm(width)
        # Three patches of a chunk's time become one, so that the chunks side by side are as long as the whole.
        self.mel_conv2d = PatchConvolution(1, width, (patch, 3 * patch), stride=(patch, 3 * patch))
        self.fusion_model = {"daf_2d": Sum, "aff_2d": Attentional, "iaff_2d": TwiceAttentional}[fusion](width)
        replace_batch_norm(self.fusion_model, "frozen")

    def forward(self, x: Float[Tensor, "B 4 H W"], longer: Bool[Tensor, " B"]) -> Float[Tensor, "B T width"]:
        """Embed the whole's patches, with the chunks' in the rows that are longer."""
        whole = self.proj(x[:, :1])  # (B, C, h, w)
        chunks = self.mel_conv2d(x[:, 1:].flatten(0, 1)[:, None]).unflatten(0, (-1, 3))  # (B, 3, C, h, w // 3)
        beside = chunks.permute(0, 2, 3, 1, 4).flatten(3)
        beside = pad(beside, (0, whole.shape[3] - beside.shape[3]))
        fused = torch.where(longer[:, None, None, None], self.fusion_model(whole, beside), whole)
        return self.norm(fused.flatten(2).transpose(1, 2))


class Sum(nn.Module):
    """Direct addition."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Float[Tensor, "B C h w"], y: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Fuse two maps."""
        return x + y


class Attentional(nn.Module):
    """Attentional feature fusion: each place and channel is a mean of both, weighted by what the sum of both says."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local_att = attention(channels)
        self.global_att = attention(channels, nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Float[Tensor, "B C h w"], y: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Fuse two maps."""
        both = x + y
        weight = (self.local_att(both) + self.global_att(both)).sigmoid()
        return 2 * x * weight + 2 * y * (1 - weight)


class TwiceAttentional(nn.Module):
    """Iterative attentional feature fusion: what a first round fused says how a second one weighs."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local_att, self.local_att2 = attention(channels), attention(channels)
        self.global_att = attention(channels, nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Float[Tensor, "B C h w"], y: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Fuse two maps."""
        both = x + y
        for local in (self.local_att, self.local_att2):
            weight = (local(both) + self.global_att(both)).sigmoid()
            both = x * weight + y * (1 - weight)
        return both


def attention(channels: int, *before: nn.Module) -> nn.Sequential:
    """Two convolutions of single places with a quarter of the channels between them."""
    inner = max(1, channels // 4)
    return nn.Sequential(
        *before,
        nn.Conv2d(channels, inner, 1),
        nn.BatchNorm2d(inner),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, channels, 1),
        nn.BatchNorm2d(channels),
    )
