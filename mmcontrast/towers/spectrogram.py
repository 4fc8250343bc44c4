"""What towers of sounds begin with: a spectrogram, of which training masks a part."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast.config import to_tree
from mmcontrast.front_ends import FRONT_ENDS
from mmcontrast.towers.base import Tower


class SpectrogramTower(Tower):
    """A tower with fields ``mel``, ``mask_mels`` and ``mask_frames``."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.mel = FRONT_ENDS.build(config.mel)

    def preprocessing(self) -> dict[str, Any]:
        """The front end."""
        return {"front_end": to_tree(self.config.mel)}

    def spectrogram(self, values: Float[Tensor, "B samples"]) -> Float[Tensor, "B M frames"]:
        """Spectrograms of mono waveforms, masked in training."""
        return self.masked(self.mel(values))

    def masked(self, mel: Float[Tensor, "B M frames"]) -> Float[Tensor, "B M frames"]:
        """Spectrograms, in training without a band and a run of frames of each."""
        if not self.training:
            return mel
        return mask_spectrogram(mel, mels=self.config.mask_mels, frames=self.config.mask_frames)


def mask_spectrogram(mel: Float[Tensor, "B M frames"], *, mels: int, frames: int) -> Float[Tensor, "B M frames"]:
    """Set one random band and one random run of frames of each row to zero, the normalised mean level."""
    for axis, widest in ((1, mels), (2, frames)):
        if widest == 0:
            continue
        size = mel.shape[axis]
        length = torch.randint(0, widest + 1, (len(mel), 1), device=mel.device)
        start = (torch.rand(len(mel), 1, device=mel.device) * (size - length + 1)).long()
        place = torch.arange(size, device=mel.device)[None]
        masked = (place >= start) & (place < start + length)  # (B, size)
        mel = mel.masked_fill(masked[:, :, None] if axis == 1 else masked[:, None, :], 0.0)
    return mel
