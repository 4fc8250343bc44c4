"""Any image model of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from jaxtyping import UInt8
from torch import Tensor, nn

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.specs import ImageSpec
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout
from mmcontrast.towers.hugging_face_folder import (
    checkpoint_transformers,
    read_model,
    read_settings,
    transformers_layout,
)
from mmcontrast.towers.pixels import PixelTower
from mmcontrast.towers.timm_image import Channels
from mmcontrast.types import Features

HALF = (0.5, 0.5, 0.5)


@TOWERS.register("hugging_face_image")
class HuggingFaceImage(PixelTower):
    """``AutoModel`` of a local folder: its weights when it holds them, else random ones from its config.json.

    Relations: with ``pooler`` SigLIP's image tower, whose attention pooling is the embedding already (use the
    ``identity`` head), and ViT; with ``cls`` DINOv2.

    Source: Zhai et al. 2023 (SigLIP), arXiv:2303.15343.
    """

    @config
    class Config:
        """Fields of the tower."""

        modality: ClassVar[str] = "image"
        folder: Path  # config.json, and model.safetensors for trained weights
        pooling: Literal["pooler", "cls", "mean"] = "pooler"
        mean: Channels = HALF  # of each channel, of pixels in [0, 1] (SigLIP's)
        std: Channels = HALF  # deviation of each channel

        def input_spec(self) -> ImageSpec:
            """Pictures of the model's size."""
            size = read_settings(self.folder).image_size
            return ImageSpec(size=int(size if isinstance(size, int) else size[0]))

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.inner: nn.Module = read_model(config.folder)
        settings: Any = self.inner.config
        if config.pooling != "pooler":  # unread, so no gradient reaches it
            for part in (part for name, part in self.inner.named_children() if name in ("pooler", "head")):
                part.requires_grad_(False)
        self.width = int(settings.hidden_size)
        self.keep_channels(config.mean, config.std)

    def preprocessing(self) -> dict[str, Any]:
        """Mean and deviation of each channel, of pixels in [0, 1]."""
        return {"mean": list(self.config.mean), "std": list(self.config.std)}

    def forward(self, values: UInt8[Tensor, "B 3 H W"]) -> Features:
        """Encode uint8 pictures."""
        out = self.inner(pixel_values=self.pixels(values))
        tokens = out.last_hidden_state
        if self.config.pooling == "pooler":
            if getattr(out, "pooler_output", None) is None:
                raise ConfigError(f"'{self.config.folder}' has no pooler; use pooling: cls or mean.")
            return Features(out.pooler_output, tokens)
        return Features(tokens[:, 0] if self.config.pooling == "cls" else tokens.mean(dim=1), tokens)

    def layout(self) -> Layout:
        """What is registered before the longest list of modules; that list; the rest."""
        return transformers_layout(self.inner) or super().layout()

    def checkpoint_activations(self) -> None:
        """As transformers does it."""
        checkpoint_transformers(self.inner, self.config.folder)
