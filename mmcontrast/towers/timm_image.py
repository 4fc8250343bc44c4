"""Any image model of timm."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Lt
from jaxtyping import UInt8
from torch import Tensor, nn

from mmcontrast.config import Count, config
from mmcontrast.errors import ConfigError, did_you_mean
from mmcontrast.specs import ImageSpec
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout, layout_of
from mmcontrast.towers.batch_norm import BatchNormPolicy, replace_batch_norm
from mmcontrast.towers.patch_convolution import replace_patch_convolutions
from mmcontrast.towers.pixels import PixelTower
from mmcontrast.types import Features

Channels = tuple[float, float, float]  # red, green, blue


@TOWERS.register("timm_image")
class TimmImage(PixelTower):
    """``timm.create_model(name, num_classes=0)``: pooled features of any model that timm knows.

    Pixels are normalised with the mean and deviation of the model's default config.
    """

    @config
    class Config:
        """Fields of the tower."""

        modality: ClassVar[str] = "image"
        name: str  # timm's name, as in timm.list_models()
        size: Count = 224  # pixels
        patch_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0  # share of patches left out in training (ViT alone)
        drop_path: Annotated[float, Ge(0), Lt(1)] = 0.0  # stochastic depth
        batch_norm: BatchNormPolicy = "group"  # group norm instead, or frozen statistics, as trained weights need them
        mean: Channels | None = None  # of each channel, of pixels in [0, 1]; null: the model's own
        std: Channels | None = None  # deviation of each channel; null: the model's own

        def input_spec(self) -> ImageSpec:
            """Pictures of ``size`` pixels."""
            return ImageSpec(size=self.size)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        drops = {"drop_path_rate": config.drop_path, "patch_drop_rate": config.patch_dropout}
        self.inner = create_timm(config.name, size=config.size, **drops)
        replace_batch_norm(self.inner, config.batch_norm)
        replace_patch_convolutions(self.inner)
        defaults: Any = self.inner.default_cfg
        self.keep_channels(config.mean or defaults["mean"], config.std or defaults["std"])
        self.width = int(self.inner.num_features)  # type: ignore[arg-type]
        with torch.no_grad():  # some models pool to another width than they say
            probe = torch.zeros(1, 3, config.size, config.size)
            self.width = self.inner.eval()(probe).shape[1]
            self.inner.train()

    def forward(self, values: UInt8[Tensor, "B 3 H W"]) -> Features:
        """Encode uint8 pictures."""
        return Features(self.inner(self.pixels(values)))

    def layout(self) -> Layout:
        """As timm groups the model."""
        return timm_layout(self.inner, prefix="inner.")

    def adopt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take a timm model's weights but its classifier's."""
        return adopt_timm(self.inner, state)

    def checkpoint_activations(self) -> None:
        """As timm does it."""
        checkpoint_timm(self.inner, self.config.name)


def create_timm(name: str, *, size: int | None = None, **options: Any) -> nn.Module:
    """Create a timm model without a classifier and without weights, at a picture size where it takes one.

    Raises:
        ConfigError: timm has no such model, or it does not take the size.
    """
    import timm

    if name not in timm.list_models():
        raise ConfigError(f"timm has no model '{name}'.{did_you_mean(name, timm.list_models())}")
    options = {key: value for key, value in options.items() if value}
    try:
        if size is None:
            return timm.create_model(name, pretrained=False, num_classes=0, **options)
        try:
            return timm.create_model(name, pretrained=False, num_classes=0, img_size=size, **options)
        except TypeError:  # convolutional models take any size and know no img_size
            return timm.create_model(name, pretrained=False, num_classes=0, **options)
    except TypeError as error:
        raise ConfigError(f"timm's '{name}' does not take one of {', '.join(options)}: {error}") from error
    except (AssertionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"timm cannot build '{name}' at size {size}: {error}") from error


def timm_layout(module: nn.Module, *, prefix: str) -> Layout:
    """Stem, blocks and the rest of a timm model; all is final in a model that timm does not group."""
    from timm.models import group_parameters

    matcher: Any = getattr(module, "group_matcher", None)
    if matcher is None:
        return layout_of(module, embeddings=(), blocks=(), prefix=prefix)
    first, *others = [names for _, names in sorted(group_parameters(module, matcher(coarse=False)).items())]
    # timm counts the last norm to the last block.  Blocks are numbered; what follows them is not.
    numbered = [[name for name in names if any(part.isdigit() for part in name.split("."))] for names in others]
    blocks = [names for names in numbered if names]
    known = {name for names in (first, *blocks) for name in names}
    final = [name for names in others for name in names if name not in known]
    return Layout(
        [f"{prefix}{name}" for name in first],
        [[f"{prefix}{name}" for name in names] for names in blocks],
        [f"{prefix}{name}" for name in final],
    )


def checkpoint_timm(module: Any, name: str) -> None:
    """Switch on timm's own checkpointing.

    Raises:
        ConfigError: timm does not offer it for this model.
    """
    try:
        module.set_grad_checkpointing(True)
    except (AssertionError, AttributeError) as error:
        raise ConfigError(f"checkpointing: timm does not offer it for '{name}'.") from error


def adopt_timm(module: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give a timm model's weights the names of a tower that holds it as ``inner``."""
    if any(name.startswith("inner.") for name in state):
        return state
    defaults: Any = module.default_cfg
    heads = defaults.get("classifier") or ()
    heads = tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))
    return {f"inner.{name}": value for name, value in state.items() if not name.startswith(heads)}
