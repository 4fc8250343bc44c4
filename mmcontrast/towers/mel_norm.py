"""What HTSAT and PANNs begin with: a spectrogram, and a norm of each mel band whose statistics stay."""

from __future__ import annotations

from typing import Any, Self

from jaxtyping import Float
from torch import Tensor, nn

from mmcontrast.towers.spectrogram import SpectrogramTower


class MelNormTower(SpectrogramTower):
    """A tower whose batch norm ``bn0`` of the spectrogram stays as stored."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.bn0 = nn.BatchNorm2d(config.mel.mels)

    def train(self, mode: bool = True) -> Self:
        """Switch modes; ``bn0`` stays with its stored statistics."""
        super().train(mode)
        self.bn0.eval()
        return self

    def normed_mel(self, values: Float[Tensor, "B samples"]) -> Float[Tensor, "B M frames"]:
        """Spectrograms of mono waveforms, normed by band; with bands and frames masked in training."""
        return self.masked(self.bn0(self.mel(values)[..., None])[..., 0])
