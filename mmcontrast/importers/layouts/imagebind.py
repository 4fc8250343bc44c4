"""ImageBind's checkpoints: one file of torch.save with six modalities, of which three are read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcontrast.config import Count, config
from mmcontrast.errors import CheckpointError
from mmcontrast.export.base import Read
from mmcontrast.export.key_map import KeyMap, Rule
from mmcontrast.export.part import Part
from mmcontrast.front_ends.presets import ImageBind as FrontEnd
from mmcontrast.heads.identity import Identity
from mmcontrast.heads.linear import Linear
from mmcontrast.importers import IMPORTERS
from mmcontrast.importers.base import (
    NOT_ASKED,
    SCALE,
    Draft,
    Importer,
    Tower,
    count_of,
    find_file,
    read_weights,
    scalar,
)
from mmcontrast.importers.imagebind_peer import imagebind_version, readers
from mmcontrast.towers.imagebind_audio import ImageBindAudio
from mmcontrast.towers.open_clip_image import SETTINGS, OpenCLIPImage
from mmcontrast.towers.open_clip_text import OpenCLIPText

THEIRS = {"image": "vision", "audio": "audio", "text": "text"}
UNREAD = ("depth", "thermal", "imu")
EPSILON = 1e-6  # of the norms around and in the blocks
STEM = "modality_preprocessors.vision.rgbt_stem.proj.1.weight"  # (width, 3, frames, patch, patch)
LICENCE = "ImageBind's published weights are licensed CC-BY-NC 4.0: not for commercial use."

BLOCKS = (
    Rule("norm_1.{kind}", "ln_1.{kind}"),
    Rule("norm_2.{kind}", "ln_2.{kind}"),
    Rule("mlp.fc1.{kind}", "mlp.c_fc.{kind}"),
    Rule("mlp.fc2.{kind}", "mlp.c_proj.{kind}"),
    Rule("attn.{rest}", "attn.{rest}"),
)
OPEN_CLIPS = KeyMap(BLOCKS).under("blocks.{number}.", "tower.inner.transformer.resblocks.{number}.")
MAPS = {
    "image": KeyMap(
        (
            Rule(STEM, "tower.inner.conv1.weight"),
            Rule("modality_preprocessors.vision.cls_token", "tower.inner.class_embedding"),
            Rule("modality_preprocessors.vision.pos_embedding_helper.pos_embed", "tower.inner.positional_embedding"),
            Rule("modality_trunks.vision.pre_transformer_layer.0.{kind}", "tower.inner.ln_pre.{kind}"),
            Rule("modality_heads.vision.0.{kind}", "tower.inner.ln_post.{kind}"),
            Rule("modality_heads.vision.2.weight", "tower.inner.proj", transposed=True),
        )
    )
    + OPEN_CLIPS.under("modality_trunks.vision.", ""),
    "text": KeyMap(
        (
            Rule("modality_preprocessors.text.token_embedding.weight", "tower.inner.token_embedding.weight"),
            Rule("modality_preprocessors.text.pos_embed", "tower.inner.positional_embedding"),
            Rule("modality_heads.text.proj.0.{kind}", "tower.inner.ln_final.{kind}"),
            Rule("modality_heads.text.proj.1.weight", "tower.inner.text_projection", transposed=True),
        )
    )
    + OPEN_CLIPS.under("modality_trunks.text.", ""),
    "audio": KeyMap(
        (
            Rule("modality_preprocessors.audio.rgbt_stem.proj.weight", "tower.patches.weight"),
            Rule("modality_preprocessors.audio.rgbt_stem.norm_layer.{kind}", "tower.patch_norm.{kind}"),
            Rule("modality_preprocessors.audio.cls_token", "tower.class_token"),
            Rule("modality_preprocessors.audio.pos_embedding_helper.pos_embed", "tower.positions"),
            Rule("modality_trunks.audio.blocks.{rest}", "tower.blocks.{rest}"),
            Rule("modality_heads.audio.0.{kind}", "tower.norm.{kind}"),
            Rule("modality_heads.audio.2.weight", "head.layer.weight"),
        )
    ),
}
BLOCKS_OF = "modality_trunks.{name}.blocks."
SCALES = "modality_postprocessors.{modality}.1.log_logit_scale"


@IMPORTERS.register("imagebind")
class ImageBind(Importer):
    """ImageBind: towers of pictures, sounds and texts; those of depth, heat and motion are left out."""

    modalities = ("image", "audio", "text")
    packages = ("open_clip",)

    @config
    class Config:
        """What the file does not say; the defaults are ImageBind-Huge's."""

        image_heads: Count = 16  # attention heads of each block
        audio_heads: Count = 12
        text_heads: Count = 16

    def read(self, path: Path, modalities: Sequence[str], scratch: Path) -> Draft:
        """Read the file; sizes are those of its weights."""
        files = [find_file(path, "*.pth")]
        raw = read_weights(files)
        if STEM not in raw and "modality_preprocessors.audio.cls_token" not in raw:
            raise CheckpointError(f"'{path}' is no checkpoint of ImageBind: it has no modality_preprocessors.")
        state = one_frame(raw)
        try:
            dim = len(state["modality_heads.text.proj.1.weight"])
            towers = {modality: self._tower(modality, state, dim, scratch) for modality in modalities}
        except KeyError as error:
            raise CheckpointError(f"'{path}' is truncated: it has no {error}.") from error
        except (ValueError, IndexError) as error:
            raise CheckpointError(f"'{path}' has sizes that ImageBind cannot have: {error}") from error
        left_out = {f"modality_{{part}}.{name}.{{rest}}": f"{name}, which no tower here reads" for name in UNREAD}
        left_out |= {SCALES: SCALE, "modality_preprocessors.text.mask": "follows from sizes"}
        others = [theirs for ours, theirs in THEIRS.items() if ours not in towers]
        left_out |= {f"modality_{{part}}.{name}.{{rest}}": NOT_ASKED for name in others}
        return Draft(
            towers=towers,
            dim=dim,
            state=state,
            files=files,
            left_out=left_out,
            logit_scale=scalar(raw, SCALES.format(modality="text")),
            notes=notes(raw, towers),
        )

    def peer(self, path: Path, part: Part) -> tuple[str, Read]:
        """ImageBind's own modules, and its steps from files to tensors."""
        state = read_weights([find_file(path, "*.pth")])
        encode = readers(state, part.modalities, self.config)
        return imagebind_version(), Read(encode, exact_for="square")

    def _tower(self, modality: str, state: Mapping[str, Tensor], dim: int, scratch: Path) -> Tower:
        if modality == "audio":
            return Tower(tower=self._audio(state), head=Linear.Config(), key_map=MAPS["audio"])
        folder = scratch / modality
        settings = {"vision_cfg": self._image(state), "text_cfg": self._text(state)}
        folder.mkdir(parents=True)
        (folder / SETTINGS).write_text(json.dumps({"model_cfg": {"embed_dim": dim, **settings}}), encoding="utf-8")
        fields: dict[str, Any] = {"name": "of the folder", "folder": folder}
        if modality == "image":
            fields["size"] = settings["vision_cfg"]["image_size"]
        cls: Any = OpenCLIPImage if modality == "image" else OpenCLIPText
        return Tower(tower=cls.Config(**fields), head=Identity.Config(), key_map=MAPS[modality])

    def _image(self, state: Mapping[str, Tensor]) -> dict[str, Any]:
        width, _, patch, _ = state[STEM].shape
        places = len(state["modality_preprocessors.vision.pos_embedding_helper.pos_embed"]) - 1
        return {
            "image_size": patch * round(places**0.5),
            "patch_size": patch,
            "head_width": width // self.config.image_heads,
            **common("vision", state, width),
        }

    def _text(self, state: Mapping[str, Tensor]) -> dict[str, Any]:
        words, width = state["modality_preprocessors.text.token_embedding.weight"].shape
        return {
            "context_length": len(state["modality_preprocessors.text.pos_embed"]),
            "vocab_size": words,
            "heads": self.config.text_heads,
            **common("text", state, width),
        }

    def _audio(self, state: Mapping[str, Tensor]) -> Any:
        width, _, patch, _ = state["modality_preprocessors.audio.rgbt_stem.proj.weight"].shape
        inner = len(state["modality_trunks.audio.blocks.0.mlp.fc1.bias"])
        return ImageBindAudio.Config(
            mel=FrontEnd.Config(), patch=patch, width=width, layers=count_of(state, BLOCKS_OF.format(name="audio")),
            mlp_width=inner, heads=self.config.audio_heads,
        )  # fmt: skip


def common(name: str, state: Mapping[str, Tensor], width: int) -> dict[str, Any]:
    """What open_clip's settings of both its towers have."""
    inner = len(state[f"modality_trunks.{name}.blocks.0.mlp.fc1.bias"])
    return {
        "width": width,
        "layers": count_of(state, BLOCKS_OF.format(name=name)),
        "mlp_ratio": inner / width,
        "norm_kwargs": {"eps": EPSILON},
    }


def one_frame(raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict in the shapes of towers of pictures.

    ImageBind repeats a picture as a clip of two frames and filters that in time, too.  Filters summed over time give
    the same of the picture itself.
    """
    state = dict(raw)
    for name in (
        "modality_preprocessors.vision.cls_token",
        "modality_preprocessors.vision.pos_embedding_helper.pos_embed",
        "modality_preprocessors.text.pos_embed",
    ):
        if name in state:
            state[name] = state[name].squeeze(0)
    if "modality_preprocessors.vision.cls_token" in state:
        state["modality_preprocessors.vision.cls_token"] = state["modality_preprocessors.vision.cls_token"].squeeze(0)
    if STEM in state and state[STEM].ndim == 5:
        state[STEM] = state[STEM].to(torch.float64).sum(dim=2).to(state[STEM].dtype)
    return state


def notes(raw: Mapping[str, Tensor], towers: Mapping[str, Tower]) -> list[str]:
    """What a user should know."""
    found = [LICENCE]
    if "audio" in towers:
        scale = scalar(raw, SCALES.format(modality="audio"))
        if scale is not None:
            found.append(f"ImageBind multiplies embeddings of sounds by {math.exp(scale):.4g}; ours are unit vectors.")
        found.append("Of a sound over 2 s, windows at its start, in its middle and at its end are averaged.")
    return found
