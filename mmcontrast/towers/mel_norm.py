"""What HTSAT and PANNs begin with: a spectrogram, and a norm of each mel band whose statistics stay."""

from __future__ import annotations

from typing import Any, Self

from jaxtyping import Float
from torch import Tensor, nn

from mmcontrast.config import to_tree
from mmcontrast.front_ends import FRONT_ENDS
from mmcontrast.towers.base import Tower
from mmcontrast.towers.small_audio_cnn import mask_spectrogram


class MelNormTower(Tower):
    """A tower with fields ``mel``, ``mask_mels``, ``mask_frames``; its batch norm ``bn0`` stays as stored."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.mel = FRONT_ENDS.build(config.mel)
        self.bn0 = nn.BatchNorm2d(config.mel.mels)

    def train(self, mode: bool = True) -> Self:
        """Switch modes; ``bn0`` stays with its stored statistics."""
        super().train(mode)
        self.bn0.eval()
        return self

    def preprocessing(self) -> dict[str, Any]:
        """The front end."""
        return {"front_end": to_tree(self.config.mel)}

    def normed_mel(self, values: Float[Tensor, "B samples"]) -> Float[Tensor, "B M frames"]:
        """Spectrograms of mono waveforms, normed by band; with bands and frames masked in training."""
        mel = self.bn0(self.mel(values)[..., None])[..., 0]
        if self.training:
            mel = mask_spectrogram(mel, mels=self.config.mask_mels, frames=self.config.mask_frames)
        return mel
