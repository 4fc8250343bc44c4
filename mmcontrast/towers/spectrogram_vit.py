"""Any ViT of timm on log-mel spectrograms, with patches that overlap: AST among them."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Lt
from jaxtyping import Float
from torch import Tensor, nn

from mmcontrast.config import Count, NonNegativeCount, Positive, config
from mmcontrast.errors import ConfigError
from mmcontrast.front_ends import AnyFrontEnd
from mmcontrast.front_ends.presets import AST
from mmcontrast.specs import AudioSpec, ClipLength
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout
from mmcontrast.towers.patchout import Share, install_patchout
from mmcontrast.towers.spectrogram import SpectrogramTower
from mmcontrast.towers.timm_image import adopt_timm, checkpoint_timm, create_timm, timm_layout
from mmcontrast.types import Features


@TOWERS.register("spectrogram_vit")
class SpectrogramViT(SpectrogramTower):
    """A ViT whose patches of a spectrogram start every ``strides`` mels and frames, whatever their size.

    The spectrogram is read as it is, neither resized nor folded.  Positions are the model's own, as many as there are
    patches; those of trained weights are interpolated to them.  Pooled as the model pools: a distilled DeiT, as AST,
    takes the mean of its class and distillation tokens.

    Relations: transformers' ASTModel from the same spectrogram, with a distilled DeiT and strides 10, 10; without
    overlap where the strides are the patch's size.
    Source: Gong et al. 2021, arXiv:2104.01778, sections 2.1 and 2.2.
    """

    @config
    class Config:
        """Fields of the tower; the defaults are AST's."""

        modality: ClassVar[str] = "audio"
        name: str = "deit_base_distilled_patch16_224"  # timm's name of a model of its VisionTransformer class
        seconds: Positive = 10.24  # length of the window
        length: ClipLength = ClipLength()  # what is heard of shorter and of longer sounds
        mel: AnyFrontEnd = AST.Config()  # AST's has 1024 frames whatever the window
        strides: tuple[Count, Count] = (10, 10)  # mels and frames from one patch to the next
        patch_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0  # share of patches left out in training
        patchout: tuple[Share, Share] = (0.0, 0.0)  # or shares of whole mel rows and time columns of patches
        drop_path: Annotated[float, Ge(0), Lt(1)] = 0.0  # stochastic depth
        mask_mels: NonNegativeCount = 0  # widest band of mels masked in training
        mask_frames: NonNegativeCount = 0  # longest run of frames masked in training

        def __post_init__(self) -> None:
            if self.patch_dropout and any(self.patchout):
                raise ValueError("patch_dropout and patchout both leave out patches. Set one of them.")

        def input_spec(self) -> AudioSpec:
            """Waveforms of ``seconds`` at the front end's rate."""
            return AudioSpec(sample_rate_hz=self.mel.sample_rate_hz, seconds=self.seconds, length=self.length)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        drops = {"drop_path_rate": config.drop_path, "patch_drop_rate": config.patch_dropout}
        inner = create_timm(config.name, in_chans=1, **drops)
        shape = (config.mel.mels, config.mel.frames(config.input_spec().samples))
        self.inner = overlap_patches(inner, shape=shape, strides=config.strides, name=config.name)
        install_patchout(self.inner, mels=config.patchout[0], time=config.patchout[1], name=config.name)
        self.width = self.inner.embed_dim

    def forward(self, values: Float[Tensor, "B samples"]) -> Features:
        """Encode mono waveforms."""
        return self.read(self.spectrogram(values))

    def read(self, mel: Float[Tensor, "B M frames"]) -> Features:
        """Encode spectrograms; the tokens are those of patches."""
        tokens = self.inner.forward_features(mel[:, None])
        return Features(self.inner.forward_head(tokens), tokens[:, self.inner.num_prefix_tokens :])

    def layout(self) -> Layout:
        """As timm groups the model."""
        return timm_layout(self.inner, prefix="inner.")

    def adopt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take a timm model's weights, AST's own or those of transformers' AST.

        Filters of three colours are summed to one, and positions interpolated from another grid: a square one in a
        model of pictures, one with as many patches of mels as here in a model of sound.
        """
        from timm.layers import resample_abs_pos_embed
        from timm.models import adapt_input_conv

        original = {key.partition("v.")[2]: each for key, each in state.items() if key.startswith(("module.v.", "v."))}
        adopted = adopt_timm(self.inner, from_transformers(original or state))
        filters, positions = "inner.patch_embed.proj.weight", "inner.pos_embed"
        pictures = filters in adopted and adopted[filters].shape[1] != 1
        if pictures:
            adopted[filters] = adapt_input_conv(1, adopted[filters])
        if positions in adopted:
            rows, columns = self.inner.patch_embed.grid_size
            prefix = self.inner.pos_embed.shape[1] - rows * columns
            patches = adopted[positions].shape[1] - prefix
            side = round(patches**0.5) if pictures else rows
            adopted[positions] = resample_abs_pos_embed(
                adopted[positions], [rows, columns], [side, patches // side], num_prefix_tokens=prefix
            )
        return adopted

    def checkpoint_activations(self) -> None:
        """As timm does it."""
        checkpoint_timm(self.inner, self.config.name)


def overlap_patches(inner: nn.Module, *, shape: tuple[int, int], strides: tuple[int, int], name: str) -> Any:
    """Let a ViT's patches start every ``strides`` pixels of pictures of ``shape``, with fresh positions.

    Raises:
        ConfigError: not a ViT with a position for each patch, or a picture smaller than a patch.
    """
    from timm.models.vision_transformer import VisionTransformer

    if not isinstance(inner, VisionTransformer) or inner.pos_embed is None:
        raise ConfigError(
            f"'{name}' is no ViT with a position for each patch; use one such as vit_base_patch16_224, or "
            "timm_spectrogram, which takes any model."
        )
    vit: Any = inner
    patches = vit.patch_embed
    grid = tuple(
        (side - patch) // step + 1 for side, patch, step in zip(shape, patches.patch_size, strides, strict=True)
    )
    if min(grid) < 1:
        raise ConfigError(
            f"a spectrogram of {shape[0]} mels and {shape[1]} frames is smaller than a patch of '{name}', "
            f"{patches.patch_size[0]} by {patches.patch_size[1]}. Use more mels or seconds."
        )
    prefix = vit.pos_embed.shape[1] - patches.num_patches
    patches.proj.stride = strides
    vit.dynamic_img_size = patches.dynamic_img_pad = False  # pictures have one size, whatever the model is made for
    patches.flatten = patches.strict_img_size = True
    patches.img_size, patches.grid_size, patches.num_patches = shape, grid, grid[0] * grid[1]
    vit.pos_embed = nn.Parameter(torch.empty(1, prefix + patches.num_patches, vit.embed_dim))
    nn.init.trunc_normal_(vit.pos_embed, std=0.02)
    return vit


def from_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of transformers' AST timm's names; others pass unchanged."""
    prefix = "audio_spectrogram_transformer."
    state = {name.removeprefix(prefix): value for name, value in state.items() if not name.startswith("classifier.")}
    if "embeddings.distillation_token" not in state:
        return state
    names = {
        "embeddings.cls_token": "cls_token",
        "embeddings.distillation_token": "dist_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection": "patch_embed.proj",
        "layernorm": "norm",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "attention.output.dense": "attn.proj",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
    }
    result: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        block, inside = re.match(r"(?:encoder\.layer\.(\d+)\.)?(.*)", name).groups()  # type: ignore[union-attr]
        kind = "" if inside in names else "." + inside.rpartition(".")[2]
        stem = inside.removesuffix(kind) if kind else inside
        place = f"blocks.{block}." if block else ""
        if stem.startswith("attention.attention."):
            parts.setdefault(f"{place}attn.qkv{kind}", {})[stem.rpartition(".")[2]] = value
        else:
            result[f"{place}{names[stem]}{kind}"] = value
    for name, each in parts.items():
        result[name] = torch.cat([each["query"], each["key"], each["value"]])
    return result
