"""Folders of sentence-transformers: ``SentenceTransformer(FOLDER).encode(texts)``."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmcontrast.config import config
from mmcontrast.export import EXPORTS
from mmcontrast.export.base import ExportFormat, Read
from mmcontrast.export.part import Part
from mmcontrast.exported.dtypes import TORCH, Dtype

POOLING = {"cls": "cls", "mean": "mean", "last_token": "lasttoken"}
HEADS = ("identity", "linear", "mlp")


@EXPORTS.register("sentence_transformers")
class SentenceTransformers(ExportFormat):
    """A text tower of transformers' or open_clip's, with its pooling, head and norm as modules."""

    tolerance = 1e-4
    packages = ("sentence_transformers",)
    extra = "sentence-transformers"

    @config
    class Config:
        """No fields."""

    def refusals(self, part: Part) -> dict[str, str]:
        """Other modalities, towers with code of their own, and poolings that are none of its."""
        from mmcontrast.export.clip_layout import not_plain

        found = {
            modality: "sentence-transformers holds a text tower alone."
            for modality in part.modalities
            if modality != "text"
        }
        if "text" not in part.modalities:
            return found or {"part": "there is no text tower."}
        kind, head = part.tower("text").config, part.head("text").config.registry_name
        if part.config.geometry.registry_name != "sphere":
            found["part"] = f"the geometry '{part.config.geometry.registry_name}' is no unit sphere."
        elif kind.registry_name == "open_clip_text":
            reason = not_plain(part, "text")
            found |= {"text": reason} if reason else {}
        elif kind.registry_name != "hugging_face_text":
            able = "hugging_face_text and open_clip_text do not"
            found["text"] = f"'{kind.registry_name}' would need code of its own there; {able}."
        elif kind.pooling not in POOLING:
            found["text"] = f"it has no pooling '{kind.pooling}'; it has {', '.join(POOLING)}."
        if head not in HEADS:
            found.setdefault("text", f"a '{head}' head is none of {', '.join(HEADS)}.")
        return found

    def write(self, part: Part, folder: Path, *, dtype: Dtype) -> None:
        """Write the modules' folders and modules.json."""
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Dense, Transformer
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

        spec = part.text_spec()
        with tempfile.TemporaryDirectory() as scratch:
            width, pooling, layers = save_transformer(part, Path(scratch))
            modules: list[nn.Module] = [
                Transformer(scratch, max_seq_length=spec.context_length),
                Pooling(width, pooling_mode=pooling),  # type: ignore[arg-type]
            ]
            for layer, activation in layers:
                modules.append(
                    Dense(
                        layer.in_features,
                        layer.out_features,
                        bias=layer.bias is not None,
                        activation_function=activation,
                        init_weight=layer.weight.detach().clone(),
                        init_bias=None if layer.bias is None else layer.bias.detach().clone(),
                    )
                )
            modules.append(Normalize())
            model = SentenceTransformer(modules=modules, device="cpu").to(TORCH[dtype])
            model.save(str(folder), create_model_card=False, safe_serialization=True)

    def read(self, folder: Path, part: Part) -> Read:
        """Through ``SentenceTransformer``, from files alone."""
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, trust_remote_code=False).float()

        def text(items: Sequence[Any]) -> Tensor:
            return torch.from_numpy(model.encode(list(items), convert_to_numpy=True, show_progress_bar=False))

        return Read({"text": text}, empty_captions=len(model.tokenizer("")["input_ids"]) > 0)

    def usage(self, part: Part) -> str:
        """sentence-transformers' own calls."""
        return """from sentence_transformers import SentenceTransformer

model = SentenceTransformer("THIS FOLDER")
z = model.encode(["a dog", "a cat"])"""


def save_transformer(part: Part, folder: Path) -> tuple[int, str, list[tuple[nn.Linear, nn.Module]]]:
    """Save the transformer and its tokenizer; return its width, its pooling, and the layers that follow."""
    tower: Any = part.tower("text")
    if tower.config.registry_name == "open_clip_text":
        return _save_clip(part, folder)
    from transformers import AutoTokenizer

    tower.inner.save_pretrained(str(folder))
    source = str(part.text_spec().tokenizer.folder)
    AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False).save_pretrained(str(folder))
    return tower.width, POOLING[tower.config.pooling], head_layers(part)


def head_layers(part: Part) -> list[tuple[nn.Linear, nn.Module]]:
    """The head's matrices, each with what follows it."""
    head = part.head("text")
    kind = head.config.registry_name
    if kind == "identity":
        return []
    if kind == "linear":
        return [(head.layer, nn.Identity())]
    first, activation, last = head.layers
    return [(first, activation), (last, nn.Identity())]


def _save_clip(part: Part, folder: Path) -> tuple[int, str, list[tuple[nn.Linear, nn.Module]]]:
    """The transformer without its projection, which follows as a layer of its own."""
    from transformers import CLIPTextModel

    from mmcontrast.export import clip_layout

    inner = part.tower("text").inner
    model = CLIPTextModel(clip_layout.text_config(part))
    state = clip_layout.text_state(part, fold=False)
    state.pop("text_projection.weight", None)
    model.load_state_dict(clip_layout.names_of_text_model(model, state))
    model.save_pretrained(str(folder))
    clip_layout.clip_tokenizer(part).save_pretrained(str(folder))
    layers = head_layers(part)
    projection = inner.text_projection
    if isinstance(projection, nn.Linear):
        layers.insert(0, (projection, nn.Identity()))
    elif projection is not None:
        layer = nn.Linear(projection.shape[0], projection.shape[1], bias=False)
        layer.weight = nn.Parameter(projection.detach().T.contiguous(), requires_grad=False)
        layers.insert(0, (layer, nn.Identity()))
    return int(model.config.hidden_size), "lasttoken", layers
