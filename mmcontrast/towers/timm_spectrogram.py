"""Any image model of timm on log-mel spectrograms."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Lt
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from mmcontrast.config import Count, NonNegativeCount, Positive, config
from mmcontrast.front_ends import AnyFrontEnd
from mmcontrast.front_ends.log_mel import LogMelConfig
from mmcontrast.specs import AudioSpec, ClipLength
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout
from mmcontrast.towers.batch_norm import BatchNormPolicy, replace_batch_norm
from mmcontrast.towers.patchout import Share, install_patchout
from mmcontrast.towers.spectrogram import SpectrogramTower
from mmcontrast.towers.timm_image import adopt_timm, checkpoint_timm, create_timm, timm_layout
from mmcontrast.types import Features


@TOWERS.register("timm_spectrogram")
class TimmSpectrogram(SpectrogramTower):
    """The spectrogram as a one-channel picture of ``size`` pixels for any model that timm knows."""

    @config
    class Config:
        """Fields of the tower."""

        modality: ClassVar[str] = "audio"
        name: str  # timm's name
        seconds: Positive = 10.0  # length of the window
        length: ClipLength = ClipLength()  # what is heard of shorter and of longer sounds
        mel: AnyFrontEnd = LogMelConfig(sample_rate_hz=48_000, window_samples=1024, hop_samples=480, high_hz=14_000)
        size: Count = 224  # pixels that the spectrogram is resized to, both ways
        drop_path: Annotated[float, Ge(0), Lt(1)] = 0.0  # stochastic depth
        patchout: tuple[Share, Share] = (0.0, 0.0)  # shares of a ViT's mel rows and time columns left out in training
        batch_norm: BatchNormPolicy = "group"  # models with batch norm: group norm instead, or frozen statistics
        mask_mels: NonNegativeCount = 0  # widest band of mels masked in training
        mask_frames: NonNegativeCount = 0  # longest run of frames masked in training

        def input_spec(self) -> AudioSpec:
            """Waveforms of ``seconds`` at the front end's rate."""
            return AudioSpec(sample_rate_hz=self.mel.sample_rate_hz, seconds=self.seconds, length=self.length)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.inner = create_timm(config.name, size=config.size, drop_path_rate=config.drop_path, in_chans=1)
        replace_batch_norm(self.inner, config.batch_norm)
        install_patchout(self.inner, mels=config.patchout[0], time=config.patchout[1], name=config.name)
        with torch.no_grad():
            self.width = self.inner.eval()(torch.zeros(1, 1, config.size, config.size)).shape[1]
            self.inner.train()

    def forward(self, values: Float[Tensor, "B samples"]) -> Features:
        """Encode mono waveforms."""
        mel = self.spectrogram(values)
        size = (self.config.size, self.config.size)
        return Features(self.inner(interpolate(mel[:, None], size=size, mode="bilinear", align_corners=False)))

    def layout(self) -> Layout:
        """As timm groups the model."""
        return timm_layout(self.inner, prefix="inner.")

    def adopt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take a timm model's weights but its classifier's; filters of three colours are summed to one."""
        from timm.models import adapt_input_conv

        adopted = adopt_timm(self.inner, state)
        defaults: Any = self.inner.default_cfg
        first = f"inner.{defaults.get('first_conv')}.weight"
        if first in adopted:
            adopted[first] = adapt_input_conv(1, adopted[first])
        return adopted

    def checkpoint_activations(self) -> None:
        """As timm does it."""
        checkpoint_timm(self.inner, self.config.name)
