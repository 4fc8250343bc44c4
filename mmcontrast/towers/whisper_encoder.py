"""Whisper's encoder, from transformers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from mmcontrast.config import Positive, config, to_tree
from mmcontrast.errors import ConfigError, MissingPackage
from mmcontrast.front_ends import FRONT_ENDS
from mmcontrast.front_ends.presets import Whisper
from mmcontrast.specs import AudioSpec, ClipLength
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout, Tower, layout_of
from mmcontrast.types import Features

RATE_HZ, HOP_SAMPLES = Whisper.Config().sample_rate_hz, Whisper.Config().hop_samples


@TOWERS.register("whisper_encoder")
class WhisperEncoder(Tower):
    """The encoder of a local transformers folder: its weights when it holds them, else random ones of its config.json.

    Windows shorter than Whisper's 30 s keep the first positions, which are sines of the place and not trained.  Pooled
    features are the mean of the tokens.

    Source: Radford et al. 2022, arXiv:2212.04356, section 2.2.
    """

    @config
    class Config:
        """Fields of the tower."""

        modality: ClassVar[str] = "audio"
        folder: Path  # config.json, and model.safetensors for trained weights
        seconds: Positive = 30.0  # length of the window
        length: ClipLength = ClipLength()  # what is heard of shorter and of longer sounds

        def input_spec(self) -> AudioSpec:
            """Waveforms of ``seconds`` at 16 kHz."""
            return AudioSpec(sample_rate_hz=RATE_HZ, seconds=self.seconds, length=self.length)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        positions = config.input_spec().samples // HOP_SAMPLES // 2
        self.inner: Any = encoder_of(config.folder)
        settings = self.inner.config
        if not 1 <= positions <= settings.max_source_positions:
            longest = 2 * settings.max_source_positions * HOP_SAMPLES / RATE_HZ
            raise ConfigError(f"{config.seconds:g} seconds: '{config.folder}' reads up to {longest:g}.")
        if positions < settings.max_source_positions:
            first = self.inner.embed_positions.weight[:positions].clone()
            self.inner.embed_positions = nn.Embedding.from_pretrained(first, freeze=True)
            settings.max_source_positions = self.inner.max_source_positions = positions
        self.mel = FRONT_ENDS.build(Whisper.Config(mels=settings.num_mel_bins))
        self.width = int(settings.d_model)

    def preprocessing(self) -> dict[str, Any]:
        """The front end."""
        return {"front_end": to_tree(self.mel.config)}

    def forward(self, values: Float[Tensor, "B samples"]) -> Features:
        """Encode mono waveforms."""
        mel = self.mel(values)[:, :, : 2 * self.inner.max_source_positions]
        tokens = self.inner(mel).last_hidden_state
        return Features(tokens.mean(dim=1), tokens)

    def layout(self) -> Layout:
        """Convolutions and places; layers; the last norm."""
        blocks = [[f"layers.{number}"] for number in range(len(self.inner.layers))]
        return layout_of(self.inner, embeddings=["conv1", "conv2", "embed_positions"], blocks=blocks, prefix="inner.")

    def checkpoint_activations(self) -> None:
        """As transformers does it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # transformers 5.2 renames it; both know this name
            self.inner.gradient_checkpointing_enable({"use_reentrant": False})


def encoder_of(folder: Path) -> Any:
    """Build the encoder of a Whisper folder.

    Raises:
        ConfigError: no folder of a Whisper model.
        MissingPackage: transformers is not installed.
    """
    try:
        from transformers import AutoConfig, WhisperModel
        from transformers.models.whisper.modeling_whisper import WhisperEncoder as Encoder
    except ImportError as error:
        raise MissingPackage("whisper_encoder needs transformers: pip install 'mmcontrast[hf]'.") from error
    if not (folder / "config.json").is_file():
        raise ConfigError(f"no config.json in '{folder}', which should hold a transformers model.")
    settings = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    if settings.model_type != "whisper":
        raise ConfigError(f"'{folder}' holds a {settings.model_type}, not a whisper.")
    if (folder / "model.safetensors").is_file():
        return WhisperModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True).get_encoder()
    return Encoder(settings)
