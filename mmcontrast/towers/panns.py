"""PANNs: Cnn14, Cnn10 and Cnn6 on log-mel spectrograms, in the key layout of the published files."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, dropout

from mmcontrast.config import Count, NonNegativeCount, Positive, config
from mmcontrast.front_ends import AnyFrontEnd
from mmcontrast.specs import AudioSpec, ClipLength
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout, layout_of
from mmcontrast.towers.batch_norm import BatchNormPolicy, replace_batch_norm
from mmcontrast.towers.htsat import LAION_MEL
from mmcontrast.towers.mel_norm import MelNormTower
from mmcontrast.towers.patchout import Share
from mmcontrast.types import Features

# Letters here: C channels.

# Channels of each block, convolutions of a block, pixels of their side.
VARIANTS = {
    "cnn14": ((64, 128, 256, 512, 1024, 2048), 2, 3),
    "cnn10": ((64, 128, 256, 512, 1024), 2, 3),
    "cnn6": ((64, 128, 256, 512), 1, 5),
}


@TOWERS.register("panns")
class PANNs(MelNormTower):
    """Convolutional blocks with average pooling; the mean over mels; the mean plus the maximum over time; one layer.

    ``bn0``, a batch norm per mel band, keeps its stored statistics: rows must not touch each other.

    Relations: ``cnn14`` as in MS-CLAP 2022; all three as in LAION-CLAP, whose Cnn10 has a fifth block: ``widths`` of
    64, 128, 256, 512 give the paper's.  Published weights need ``batch_norm: frozen``, and a ``mel`` of
    plain decibels such as ``{type: msclap_2022}`` or ``{type: laion}``.

    Source: Kong et al. 2019, arXiv:1912.10211, table I.
    """

    @config
    class Config:
        """Fields of the tower."""

        modality: ClassVar[str] = "audio"
        seconds: Positive = 10.0  # length of the window
        length: ClipLength = ClipLength()  # what is heard of shorter and of longer sounds
        mel: AnyFrontEnd = LAION_MEL
        variant: Literal["cnn14", "cnn10", "cnn6"] = "cnn14"
        widths: tuple[Count, ...] | None = None  # channels of each block; null: the variant's, from 64 on, doubling
        width: Count | None = None  # pooled features; null: as many as the last block has channels
        batch_norm: BatchNormPolicy = "group"  # group norm instead, or frozen statistics, as trained weights need them
        block_dropout: Share = 0.2  # after each block
        dropout: Share = 0.5  # before and after the last layer
        mask_mels: NonNegativeCount = 0  # widest band of mels masked in training
        mask_frames: NonNegativeCount = 0  # longest run of frames masked in training

        def __post_init__(self) -> None:
            shortest = 2 ** min(len(self.channels()), 5)
            frames = self.mel.frames(self.input_spec().samples)
            if min(self.mel.mels, frames) < shortest:
                raise ValueError(
                    f"{self.mel.mels} mels and {frames} frames cannot be halved {len(self.channels())} times; "
                    f"both need to be {shortest} or more. Use more seconds or mels, or fewer widths."
                )

        def channels(self) -> tuple[int, ...]:
            """Channels of each block."""
            return self.widths or VARIANTS[self.variant][0]

        def input_spec(self) -> AudioSpec:
            """Waveforms of ``seconds`` at the front end's rate."""
            return AudioSpec(sample_rate_hz=self.mel.sample_rate_hz, seconds=self.seconds, length=self.length)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        _, convolutions, kernel = VARIANTS[config.variant]
        self._blocks, before = [], 1
        for number, channels in enumerate(config.channels(), start=1):
            block = ConvBlock(
                before,
                channels,
                convolutions=convolutions,
                kernel=kernel,
                pool=2 if number < 6 else 1,
                dropout=config.block_dropout,
            )
            replace_batch_norm(block, config.batch_norm)
            self.add_module(f"conv_block{number}", block.to(memory_format=torch.channels_last))
            self._blocks.append(f"conv_block{number}")
            before = channels
        self._token_width = before
        self.width = config.width or before
        self.fc1 = nn.Linear(before, self.width)
        nn.init.xavier_uniform_(self.fc1.weight)
        nn.init.zeros_(self.fc1.bias)

    @property
    def token_width(self) -> int:
        """Channels of the last block: tokens are time steps before the last layer."""
        return self._token_width

    def forward(self, values: Float[Tensor, "B samples"]) -> Features:
        """Encode mono waveforms."""
        picture = (
            self.normed_mel(values).transpose(1, 2)[:, None].contiguous(memory_format=torch.channels_last)
        )  # (B, 1, frames, M)
        cells = self.through((self.get_submodule(name) for name in self._blocks), picture)
        tokens = cells.mean(dim=3).transpose(1, 2)  # (B, frames', C)
        pooled = tokens.amax(dim=1) + tokens.mean(dim=1)
        pooled = self.fc1(dropout(pooled, self.config.dropout, self.training)).relu()
        return Features(dropout(pooled, self.config.dropout, self.training), tokens)

    def adopt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take published weights, in LAION's or MS-CLAP's models too, but the front end and the classifier."""
        for prefix in ("audio_branch.", "audio_encoder.base."):
            inside = {key.partition(prefix)[2]: value for key, value in state.items() if prefix in key}
            state = inside or state
        others = ("spectrogram_extractor.", "logmel_extractor.", "fc_audioset.")
        return {name: value for name, value in state.items() if not name.startswith(others)}

    def layout(self) -> Layout:
        """Norm of the mels; blocks; the last layer."""
        return layout_of(self, embeddings=["bn0"], blocks=[[name] for name in self._blocks])


class ConvBlock(nn.Module):
    """One or two convolutions, each with a norm and a ReLU; average pooling; dropout."""

    def __init__(
        self, before: int, channels: int, *, convolutions: int, kernel: int, pool: int, dropout: float
    ) -> None:
        super().__init__()
        self.convolutions, self.pool, self.dropout = convolutions, pool, dropout
        for number in range(1, convolutions + 1):
            layer = nn.Conv2d(before, channels, kernel, padding=kernel // 2, bias=False)
            nn.init.xavier_uniform_(layer.weight)
            self.add_module(f"conv{number}", layer)
            self.add_module(f"bn{number}", nn.BatchNorm2d(channels))
            before = channels

    def forward(self, x: Float[Tensor, "B C H W"]) -> Tensor:
        """Mix neighbours and halve both axes."""
        for number in range(1, self.convolutions + 1):
            x = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(x)).relu_()
        return dropout(avg_pool2d(x, self.pool) if self.pool > 1 else x, self.dropout, self.training)
