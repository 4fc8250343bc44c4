"""Hugging Face folders in CLIP's layout: ``transformers.AutoModel.from_pretrained(FOLDER)``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcontrast.config import config
from mmcontrast.export import EXPORTS
from mmcontrast.export.base import ExportFormat, Read, Reader
from mmcontrast.export.folding import biased, general_refusals
from mmcontrast.export.part import Part
from mmcontrast.exported.dtypes import TORCH, Dtype

KINDS = {"image": "open_clip_image", "text": "open_clip_text"}
CLASSES = {
    ("image", "text"): "CLIPModel",
    ("image",): "CLIPVisionModelWithProjection",
    ("text",): "CLIPTextModelWithProjection",
}


@EXPORTS.register("hf", "transformers")
class HuggingFace(ExportFormat):
    """Plain CLIP transformers of open_clip's, as CLIPModel or one tower with its projection."""

    tolerance = 1e-4
    folds = True
    packages = ("transformers",)
    extra = "hf"

    @config
    class Config:
        """No fields."""

    def refusals(self, part: Part) -> dict[str, str]:
        """Towers that are no plain CLIP transformers."""
        from mmcontrast.export.clip_layout import not_plain

        found = general_refusals(part)
        for modality in part.modalities:
            name = part.tower(modality).config.registry_name
            if name != KINDS.get(modality):
                able = " and ".join(KINDS.values())
                found.setdefault(modality, f"'{name}' has no counterpart in transformers' CLIP; {able} have.")
            elif biased(part, modality):
                found.setdefault(modality, "CLIP's projections have no bias, and this head has one.")
            elif reason := not_plain(part, modality):
                found.setdefault(modality, reason)
        return found

    def write(self, part: Part, folder: Path, *, dtype: Dtype) -> None:
        """Write config.json, model.safetensors, and the files of the tokenizer and image processor."""
        import transformers

        from mmcontrast.export import clip_layout

        state: dict[str, Tensor] = {}
        if "image" in part.modalities:
            state |= clip_layout.vision_state(part)
            clip_layout.image_processor(part).save_pretrained(str(folder))
        if "text" in part.modalities:
            state |= clip_layout.text_state(part)
            clip_layout.clip_tokenizer(part).save_pretrained(str(folder))
        if part.modalities == ("image",):
            settings = clip_layout.vision_config(part)
        elif part.modalities == ("text",):
            settings = clip_layout.text_config(part)
        else:
            state["logit_scale"] = torch.tensor(float(part.about.get("logit_scale", math.log(1 / 0.07))))
            settings = transformers.CLIPConfig(
                text_config=clip_layout.text_config(part).to_dict(),
                vision_config=clip_layout.vision_config(part).to_dict(),
                projection_dim=part.config.dim,
            )
        model = getattr(transformers, CLASSES[part.modalities])(settings)
        clip_layout.save(model, state, folder, TORCH[dtype])

    def read(self, folder: Path, part: Part) -> Read:
        """Through transformers, from files alone."""
        import transformers

        offline: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        cls = transformers.AutoModel if len(part.modalities) > 1 else getattr(transformers, CLASSES[part.modalities])
        model = cls.from_pretrained(str(folder), use_safetensors=True, dtype=torch.float32, **offline).eval()
        readers: dict[str, Any] = {}
        if "image" in part.modalities:
            processor = transformers.AutoImageProcessor.from_pretrained(str(folder), **offline)
            readers["image"] = image_reader(model, processor)
        if "text" in part.modalities:
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), **offline)
            readers["text"] = text_reader(model, tokenizer)
        # Its processor resizes with torchvision: a few steps of 255 from Pillow, and the shorter side first.
        return Read(readers, exact_for="own_size")

    def usage(self, part: Part) -> str:
        """transformers' own calls."""
        lines = [
            "from transformers import AutoImageProcessor, AutoTokenizer, " + CLASSES[part.modalities],
            "",
            f'model = {CLASSES[part.modalities]}.from_pretrained("THIS FOLDER").eval()',
        ]
        both = len(part.modalities) > 1
        if "image" in part.modalities:
            lines.append('processor = AutoImageProcessor.from_pretrained("THIS FOLDER")')
            call = "model.get_image_features" if both else "model"
            lines.append(f'features = {call}(**processor([picture], return_tensors="pt"))')
        if "text" in part.modalities:
            lines.append('tokenizer = AutoTokenizer.from_pretrained("THIS FOLDER")')
            call = "model.get_text_features" if both else "model"
            lines.append(f'features = {call}(**tokenizer(["a dog"], padding=True, return_tensors="pt"))')
        return "\n".join(lines)


def image_reader(model: Any, processor: Any) -> Reader:
    """A pair's image tower, or one by itself, behind its processor."""

    def image(items: Sequence[Any]) -> Tensor:
        call = getattr(model, "get_image_features", model)
        return _vectors(call(**processor(list(items), return_tensors="pt")), "image_embeds")

    return image


def text_reader(model: Any, tokenizer: Any, *, padding: bool | str = True) -> Reader:
    """A pair's text tower, or one by itself, behind its tokenizer."""

    def text(items: Sequence[Any]) -> Tensor:
        inputs = tokenizer(list(items), padding=padding, truncation=True, return_tensors="pt")
        return _vectors(getattr(model, "get_text_features", model)(**inputs), "text_embeds")

    return text


def _vectors(found: Any, name: str) -> Tensor:
    """Features as a tensor: some versions of transformers wrap those of the pair, and all those of one tower."""
    if isinstance(found, Tensor):
        return found
    wrapped: Tensor | None = getattr(found, name, None)
    return found.pooler_output if wrapped is None else wrapped
