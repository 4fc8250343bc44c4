"""timm's NaFlex vision transformers: pictures of any shape, as sequences of patches."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Lt
from torch import Tensor, nn

from mmcontrast.config import Count, config
from mmcontrast.errors import ConfigError
from mmcontrast.specs import ImageSpec, PatchSequence
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout
from mmcontrast.towers.pixels import PixelTower
from mmcontrast.towers.timm_image import Channels, adopt_timm, checkpoint_timm, create_timm, timm_layout
from mmcontrast.types import Features, Values

FAMILY = "naflexvit_"


@TOWERS.register("timm_naflex")
class TimmNaFlex(PixelTower):
    """A vision transformer over the patches of pictures that keep their shape; positions are resized to each.

    Reads what the loader brings of an :class:`ImageSpec` with a sequence, and square pictures, of which it makes the
    same patches.

    Relations: timm's ``NaFlexVit`` on batches of its ``NaFlexCollator``.
    Source: Dehghani et al. 2023, NaViT, arXiv:2307.06304; Tschannen et al. 2025, SigLIP 2, arXiv:2502.14786.
    """

    @config
    class Config:
        """Fields of the tower."""

        modality: ClassVar[str] = "image"
        name: str = "naflexvit_base_patch16_gap"  # timm's name
        patch: Count = 16  # pixels of a side of a patch
        tokens: Count = 256  # most patches of a picture, in evaluation too
        train_tokens: tuple[Count, ...] = ()  # one of these budgets is drawn for each training step; none: tokens
        width: Count | None = None  # of a token; null: the name's own
        depth: Count | None = None  # blocks; null: the name's own
        heads: Count | None = None  # of attention; null: the name's own
        patch_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0  # share of patches left out in training
        drop_path: Annotated[float, Ge(0), Lt(1)] = 0.0  # stochastic depth
        mean: Channels | None = None  # of each channel, of pixels in [0, 1]; null: the model's own
        std: Channels | None = None  # deviation of each channel; null: the model's own

        def __post_init__(self) -> None:
            if not self.name.startswith(FAMILY):
                raise ValueError(f"name: '{self.name}' is no NaFlex model; theirs begin with {FAMILY}.")

        def input_spec(self) -> ImageSpec:
            """Patches; where a picture must be square, the largest that keeps to ``tokens``."""
            sequence = PatchSequence(patch=self.patch, tokens=self.tokens, train_tokens=self.train_tokens)
            return ImageSpec(size=self.patch * math.isqrt(self.tokens), sequence=sequence)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        options = {
            "patch_size": config.patch,
            "embed_dim": config.width,
            "depth": config.depth,
            "num_heads": config.heads,
            "drop_path_rate": config.drop_path,
            "patch_drop_rate": config.patch_dropout,
        }
        inner: Any = create_timm(config.name, **options)
        if not inner.embeds.is_linear:
            raise ConfigError(f"timm's '{config.name}' does not read patches.")
        self.inner: nn.Module = inner
        defaults = inner.default_cfg
        self.keep_channels(config.mean or defaults["mean"], config.std or defaults["std"])
        self.width = int(inner.num_features)

    def forward(self, values: Values) -> Features:
        """Encode a batch of patches (``patches``, ``places``, ``real``), or uint8 pictures (B, 3, H, W)."""
        if isinstance(values, Tensor):
            return Features(self.inner(self.pixels(values)))
        colours = values["patches"].unflatten(-1, (-1, 3))  # (B, T, pixels, 3)
        patches = (colours - self.mean.flatten()).div_(self.std.flatten()).flatten(2)
        return Features(self.inner(patches, patch_coord=values["places"], patch_valid=values["real"]))

    def layout(self) -> Layout:
        """As timm groups the model."""
        return timm_layout(self.inner, prefix="inner.")

    def adopt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take a timm model's weights but its classifier's."""
        return adopt_timm(self.inner, state)

    def checkpoint_activations(self) -> None:
        """As timm does it."""
        checkpoint_timm(self.inner, self.config.name)
