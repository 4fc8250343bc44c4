"""A small convolutional network on log-mel spectrograms: quick on a CPU, no batch statistics."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmcontrast.config import Count, NonNegativeCount, Positive, config
from mmcontrast.front_ends import AnyFrontEnd
from mmcontrast.front_ends.log_mel import LogMelConfig
from mmcontrast.specs import AudioSpec, ClipLength
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout, layout_of
from mmcontrast.towers.small_resnet import Block
from mmcontrast.towers.spectrogram import SpectrogramTower
from mmcontrast.types import Features


@TOWERS.register("small_audio_cnn")
class SmallAudioCNN(SpectrogramTower):
    """Log-mel front end, 3x3 residual blocks, the mel axis laid side by side, and a pooling over time.

    ``ordered`` pooling lays the time steps side by side before one matrix, ``attention`` adds a learned position to
    each and lets a few learned queries read them: with both, "a then b" and "b then a" differ.  ``mean`` pooling is
    blind to order beyond the blocks' view: a control.

    Source: the blocks of He et al. 2015, arXiv:1512.03385; masking after Park et al. 2019, arXiv:1904.08779.
    """

    @config
    class Config:
        """Fields of the tower; the defaults hold 1.3M parameters."""

        modality: ClassVar[str] = "audio"
        seconds: Positive = 2.0  # length of the window
        length: ClipLength = ClipLength()  # what is heard of shorter and of longer sounds
        mel: AnyFrontEnd = LogMelConfig()
        widths: tuple[Count, ...] = (16, 64, 128, 128)  # channels of each stage
        groups: Count = 8  # channel groups of each norm
        width: Count = 256  # of a time step, and of the pooled features
        mel_strides: tuple[Count, ...] = (1, 2, 2, 1)  # how each stage thins the mel axis; the later ones halve time
        pooling: Literal["ordered", "attention", "mean"] = "ordered"
        queries: Count = 4  # learned queries of the attention pooling
        mask_mels: NonNegativeCount = 6  # widest band of mels masked in training (SpecAugment)
        mask_frames: NonNegativeCount = 6  # longest run of frames masked in training

        def __post_init__(self) -> None:
            if len(self.mel_strides) < len(self.widths):
                raise ValueError(f"mel_strides needs one entry for each of {len(self.widths)} stages.")

        def input_spec(self) -> AudioSpec:
            """Waveforms of ``seconds`` at the front end's rate."""
            return AudioSpec(sample_rate_hz=self.mel.sample_rate_hz, seconds=self.seconds, length=self.length)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        first = config.widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(1, first, 4, stride=2, padding=1, bias=False),
            nn.GroupNorm(config.groups, first),
            nn.ReLU(inplace=True),
        )
        stages, width = [], first
        for stage, after in enumerate(config.widths):
            stride = (config.mel_strides[stage], 2 if stage else 1)
            stages.append(Block(width, after, stride=stride, groups=config.groups))
            width = after
        self.stages = nn.Sequential(*stages)
        samples = config.input_spec().samples
        with torch.no_grad():
            silence = torch.zeros(1, 1, config.mel.mels, config.mel.frames(samples))
            shape = self.stages(self.stem(silence)).shape
        self.step = nn.Linear(shape[1] * shape[2], config.width)  # pitch is a place: bands are not averaged
        self.norm = nn.LayerNorm(config.width)
        self.pool: nn.Module | None = None
        if config.pooling == "attention":
            self.pool = QueryPool(config.width, queries=config.queries, steps=shape[3])
        elif config.pooling == "ordered":
            self.pool = nn.Sequential(nn.Flatten(), nn.Linear(shape[3] * config.width, config.width))
        self.width = config.width
        self.stem.to(memory_format=torch.channels_last)
        self.stages.to(memory_format=torch.channels_last)

    def forward(self, values: Float[Tensor, "B samples"]) -> Features:
        """Encode mono waveforms."""
        mel = self.spectrogram(values)
        picture = mel[:, None].contiguous(memory_format=torch.channels_last)
        cells = self.through(self.stages, self.stem(picture))  # (B, C, M', frames')
        tokens = self.norm(self.step(cells.flatten(1, 2).transpose(1, 2)))  # (B, frames', width)
        pooled = tokens.mean(dim=1) if self.pool is None else self.pool(tokens)
        return Features(pooled, tokens)

    def layout(self) -> Layout:
        """The stem; residual blocks; time steps and their pooling."""
        return layout_of(
            self, embeddings=["stem"], blocks=[[f"stages.{number}"] for number in range(len(self.stages))]
        )


class QueryPool(nn.Module):
    """A few learned queries attend over positioned tokens; their answers, side by side, are projected back."""

    def __init__(self, width: int, *, queries: int, steps: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(0.02 * torch.randn(steps, width))
        self.queries = nn.Parameter(width**-0.5 * torch.randn(queries, width))
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(queries * width, width)

    def forward(self, tokens: Float[Tensor, "B T width"]) -> Float[Tensor, "B width"]:
        """Pool (B, T, width) to (B, width); the tokens' mean passes beside the answers."""
        placed = tokens + self.positions[: tokens.shape[1]]
        weights = (self.queries @ self.key(placed).transpose(1, 2)).softmax(dim=-1)  # (B, queries, T)
        answers = weights @ self.value(placed)
        return self.out(answers.flatten(1)) + tokens.mean(dim=1)
