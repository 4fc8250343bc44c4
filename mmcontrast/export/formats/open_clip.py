"""open_clip folders: ``open_clip.create_model("local-dir:FOLDER")``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmcontrast.config import config
from mmcontrast.export import EXPORTS
from mmcontrast.export.base import ExportFormat, Read
from mmcontrast.export.folding import Affine, affine_head, biased, general_refusals
from mmcontrast.export.part import Part
from mmcontrast.exported.dtypes import TORCH, Dtype
from mmcontrast.towers.batch_norm import GroupNorm
from mmcontrast.towers.open_clip_image import architecture

LOGIT_SCALE = math.log(1 / 0.07)  # CLIP's start, where the run has none or several


@EXPORTS.register("open_clip")
class OpenCLIP(ExportFormat):
    """An image and a text tower of open_clip's, with linear or identity heads folded into their projections."""

    tolerance = 1e-5
    folds = True
    packages = ("open_clip",)

    @config
    class Config:
        """No fields."""

    def refusals(self, part: Part) -> dict[str, str]:
        """Other towers, and pairs that are none."""
        found = general_refusals(part)
        for modality, kind in {"image": "open_clip_image", "text": "open_clip_text"}.items():
            if modality not in part.modalities:
                found.setdefault("part", f"open_clip's models have an image and a text tower; there is no {modality}.")
            elif part.tower(modality).config.registry_name != kind:
                name = part.tower(modality).config.registry_name
                found.setdefault(modality, f"'{name}' is no tower of open_clip's; {kind} is.")
        for modality in part.modalities:
            if modality not in ("image", "text"):
                found[modality] = "open_clip's models have an image and a text tower alone."
        if not found:
            found = _details(part)
        return found

    def write(self, part: Part, folder: Path, *, dtype: Dtype) -> None:
        """Write open_clip_config.json and open_clip_model.safetensors."""
        from safetensors.torch import save_file

        (folder / "open_clip_config.json").write_text(json.dumps(settings(part), indent=1), encoding="utf-8")
        state = {f"visual.{name}": value for name, value in folded_image(part).items()}
        state |= folded_text(part)
        state["logit_scale"] = torch.tensor(float(part.about.get("logit_scale", LOGIT_SCALE)))
        stored = {name: value.to(TORCH[dtype]).contiguous().clone() for name, value in state.items()}
        save_file(stored, folder / "open_clip_model.safetensors")

    def read(self, folder: Path, part: Part) -> Read:
        """Through ``open_clip.create_model_and_transforms``, with its own transform and tokenizer."""
        import open_clip

        place = f"local-dir:{folder}"
        model, _, transform = open_clip.create_model_and_transforms(place)
        return readers(model, transform, open_clip.get_tokenizer(place))

    def usage(self, part: Part) -> str:
        """open_clip's own calls."""
        return """import open_clip

model, _, transform = open_clip.create_model_and_transforms("local-dir:THIS FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:THIS FOLDER")
z = model.eval().encode_text(tokenizer(["a dog"]), normalize=True)
z = model.encode_image(transform(picture)[None], normalize=True)"""


def readers(model: nn.Module, transform: Any, tokenizer: Any) -> Read:
    """A model of open_clip's behind its own transform and tokenizer; without the latter, its image tower alone."""
    opened: Any = model.eval()

    def image(items: Sequence[Any]) -> Tensor:
        return opened.encode_image(torch.stack([transform(item) for item in items]))

    def text(items: Sequence[Any]) -> Tensor:
        return opened.encode_text(tokenizer(list(items)))

    # open_clip resizes the shorter side first and cuts whole pixels: off by up to half a pixel.
    encode = {"image": image} if tokenizer is None else {"image": image, "text": text}
    return Read(encode, exact_for="square")


def settings(part: Part) -> dict[str, Any]:
    """open_clip_config.json: the architectures of both towers and the transform."""
    image, text = part.tower("image").config, part.tower("text").config
    vision = dict(architecture(image)["vision_cfg"]) | {"image_size": part.image_spec().size}
    vision.pop("patch_dropout", None)
    preprocessing = part.tower("image").preprocessing()
    model = {
        "embed_dim": part.config.dim,
        "vision_cfg": vision,
        "text_cfg": dict(architecture(text)["text_cfg"]),
    }
    if architecture(image).get("quick_gelu"):
        model["quick_gelu"] = True
    transform = {
        "size": vision["image_size"],
        "mean": preprocessing["mean"],
        "std": preprocessing["std"],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    return {"model_cfg": model, "preprocess_cfg": transform}


def folded_image(part: Part) -> dict[str, Tensor]:
    """The image tower's weights with the head in its last matrix."""
    state = dict(part.tower("image").inner.state_dict())
    return _folded(state, part.tower("image").inner, affine_head(part, "image"), ("proj",))


def folded_text(part: Part) -> dict[str, Tensor]:
    """The text tower's weights with the head in its projection."""
    state = dict(part.tower("text").inner.state_dict())
    return _folded(state, part.tower("text").inner, affine_head(part, "text"), ("text_projection",))


def _folded(
    state: dict[str, Tensor], inner: nn.Module, head: Affine | None, names: tuple[str, ...]
) -> dict[str, Tensor]:
    assert head is not None, "refusals() lets no other head pass"
    for name in names:
        if name in state:  # a bare matrix that multiplies from the right
            return {**state, name: head.after(state[name].T).T}
    layer = last_layer(inner)
    assert layer is not None, "refusals() lets no other tower pass"
    state = {**state, f"{layer}.weight": head.after(state[f"{layer}.weight"])}
    if f"{layer}.bias" in state:
        state[f"{layer}.bias"] = head.weight @ state[f"{layer}.bias"]
    return state


def last_layer(inner: nn.Module) -> str | None:
    """Name of the linear layer that a tower ends in, if it ends in one."""
    known = dict(inner.named_modules())
    for name in ("attnpool.c_proj", "head.proj", "text_projection"):
        if isinstance(known.get(name), nn.Linear):
            return name
    return None


def _details(part: Part) -> dict[str, str]:
    """Heads, norms and activations that stand in the way."""
    found = {}
    image, text = part.tower("image"), part.tower("text")
    for modality, inner, name in (("image", image.inner, "proj"), ("text", text.inner, "text_projection")):
        if biased(part, modality):
            found[modality] = "open_clip's projections have no bias, and this head has one."
        elif name not in inner.state_dict() and last_layer(inner) is None:
            found[modality] = f"'{part.tower(modality).config.name}' ends in no matrix into which a head could go."
    if any(isinstance(each, GroupNorm) for each in image.inner.modules()):
        found["image"] = "its batch norms have become group norms; open_clip's have batch norms (batch_norm: frozen)."
    gelu = [bool(architecture(each.config).get("quick_gelu")) for each in (image, text)]
    if gelu[0] != gelu[1]:
        found["part"] = "one tower has QuickGELU and the other has GELU; open_clip has one for both."
    return found
