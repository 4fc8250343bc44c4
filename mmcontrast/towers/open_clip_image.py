"""open_clip's own image towers: ViT, ModifiedResNet and timm ConvNeXt, by model name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar

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
from mmcontrast.towers.timm_image import Channels, checkpoint_timm, timm_layout
from mmcontrast.types import Features

SETTINGS = "open_clip_config.json"
PARTS = {"embed_dim": int, "vision_cfg": dict, "text_cfg": dict}


@TOWERS.register("open_clip_image")
class OpenCLIPImage(PixelTower):
    """The image tower of an open_clip model config, with its own projection; random weights.

    Pooled features come after open_clip's projection, so that its checkpoints fit; use the ``identity`` head to keep
    exactly its embedding.

    Source: Ilharco et al. 2021, open_clip; Radford et al. 2021, arXiv:2103.00020.
    """

    @config
    class Config:
        """Fields of the tower."""

        modality: ClassVar[str] = "image"
        name: str = "ViT-B-32"  # open_clip's model name
        folder: Path | None = None  # with open_clip_config.json: its architecture instead of the name's
        size: Count | None = None  # pixels; null: the model's own
        patch_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0  # share of patches left out in training (ViT alone)
        batch_norm: BatchNormPolicy = "group"  # ResNets: group norm instead, or frozen statistics
        mean: Channels | None = None  # of each channel, of pixels in [0, 1]; null: OpenAI's
        std: Channels | None = None  # deviation of each channel; null: OpenAI's

        def __post_init__(self) -> None:
            if self.folder is None:
                open_clip_config(self.name)

        def input_spec(self) -> ImageSpec:
            """Pictures of the model's size."""
            return ImageSpec(size=self.size or int(architecture(self)["vision_cfg"]["image_size"]))

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
        from open_clip.model import _build_vision_tower

        settings = architecture(config)
        vision = {**settings["vision_cfg"], "image_size": config.input_spec().size, "output_tokens": False}
        if vision.get("timm_model_name"):
            vision["timm_model_pretrained"] = False
        elif config.patch_dropout:
            vision["patch_dropout"] = config.patch_dropout
        quick_gelu = bool(settings.get("quick_gelu", False))
        self.inner: nn.Module = _build_vision_tower(settings["embed_dim"], vision, quick_gelu)
        replace_batch_norm(self.inner, config.batch_norm)
        replace_patch_convolutions(self.inner)
        self.keep_channels(config.mean or OPENAI_DATASET_MEAN, config.std or OPENAI_DATASET_STD)
        self.width = int(settings["embed_dim"])

    def forward(self, values: UInt8[Tensor, "B 3 H W"]) -> Features:
        """Encode uint8 pictures."""
        return Features(self.inner(self.pixels(values)))

    def layout(self) -> Layout:
        """Patches, class and places; blocks; norm, pooling and projection."""
        from open_clip.modified_resnet import ModifiedResNet
        from open_clip.timm_model import TimmModel

        if isinstance(self.inner, TimmModel):
            trunk = timm_layout(self.inner.trunk, prefix="inner.trunk.")
            head = [f"inner.head.{name}" for name, _ in self.inner.head.named_parameters()]
            return Layout(trunk.embeddings, trunk.blocks, [*trunk.final, *head])
        if isinstance(self.inner, ModifiedResNet):
            stem = [f"{kind}{number}" for number in (1, 2, 3) for kind in ("conv", "bn")]
            stages = [(f"layer{stage}", getattr(self.inner, f"layer{stage}")) for stage in (1, 2, 3, 4)]
            blocks = [[f"{name}.{number}"] for name, stage in stages for number in range(len(stage))]
            return layout_of(self.inner, embeddings=stem, blocks=blocks, prefix="inner.")
        start = ["conv1", "class_embedding", "positional_embedding", "ln_pre"]
        return layout_of(self.inner, embeddings=start, blocks=resblocks(self.inner), prefix="inner.")

    def adopt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take open_clip's image tower out of a whole model; positions of another grid are resized as it does."""
        from types import SimpleNamespace

        from open_clip.model import resize_pos_embed

        if any(name.startswith("inner.") for name in state):
            return state
        whole = {name: value for name, value in state.items() if name.startswith("visual.")}
        whole = whole or {f"visual.{name}": value for name, value in state.items()}
        resize_pos_embed(whole, SimpleNamespace(visual=self.inner))
        return {f"inner.{name.removeprefix('visual.')}": value for name, value in whole.items()}

    def checkpoint_activations(self) -> None:
        """As open_clip or timm does it."""
        from open_clip.modified_resnet import ModifiedResNet
        from open_clip.timm_model import TimmModel

        if isinstance(self.inner, TimmModel):
            checkpoint_timm(self.inner.trunk, self.config.name)
        elif isinstance(self.inner, ModifiedResNet):
            raise ConfigError(f"checkpointing: open_clip does not offer it for '{self.config.name}', a ResNet.")
        else:
            inner: Any = self.inner
            inner.set_grad_checkpointing(True)


def resblocks(module: Any) -> list[list[str]]:
    """Names of the transformer blocks of one of open_clip's towers."""
    return [[f"transformer.resblocks.{number}"] for number in range(len(module.transformer.resblocks))]


def architecture(config: Any) -> dict[str, Any]:
    """open_clip's settings of the model that a tower's config names.

    Raises:
        ConfigError: there is no such model, or the folder holds none.
    """
    return open_clip_config(config.name) if config.folder is None else open_clip_folder(config.folder)["model_cfg"]


def open_clip_folder(folder: Path) -> dict[str, Any]:
    """What an open_clip_config.json says: ``model_cfg``, and ``preprocess_cfg`` where it has one.

    Raises:
        ConfigError: no such file, or not of a model.
    """
    file = folder / SETTINGS
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"'{file}' does not read: {error}") from error
    model = tree.get("model_cfg", tree) if isinstance(tree, dict) else {}
    if not all(isinstance(model.get(key), kind) for key, kind in PARTS.items()):
        raise ConfigError(f"'{file}' describes no model of open_clip's; expected {', '.join(PARTS)}.")
    return {"model_cfg": dict(model), "preprocess_cfg": dict(tree.get("preprocess_cfg") or {})}


def open_clip_config(name: str) -> dict[str, Any]:
    """Return open_clip's settings of a model.

    Raises:
        ConfigError: open_clip has no such model.
    """
    import open_clip

    settings = open_clip.get_model_config(name)
    if settings is None:
        raise ConfigError(f"open_clip has no model '{name}'.{did_you_mean(name, open_clip.list_models())}")
    return dict(settings)
