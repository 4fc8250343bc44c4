"""open_clip's plain transformers in the layout of transformers' CLIP, with its tokenizer and image processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcontrast.export.formats.open_clip import folded_image, folded_text
from mmcontrast.export.part import Part
from mmcontrast.towers.open_clip_image import open_clip_config

PLAIN_VISION = {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size", "patch_dropout"}
PLAIN_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
LAYERS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def not_plain(part: Part, modality: str) -> str | None:
    """Why a tower of open_clip's is no plain CLIP transformer, or None."""
    name = part.tower(modality).config.name
    key, plain = ("vision_cfg", PLAIN_VISION) if modality == "image" else ("text_cfg", PLAIN_TEXT)
    settings = open_clip_config(name)[key]
    extra = sorted(key for key, value in settings.items() if key not in plain and value)
    if extra:
        return f"'{name}' is no plain CLIP transformer: it sets {', '.join(extra)}."
    if not isinstance(settings.get("layers", 12), int):
        return f"'{name}' is a ResNet; transformers' CLIP is a ViT."
    return None


def vision_config(part: Part) -> Any:
    """The image tower's shape."""
    from transformers import CLIPVisionConfig

    name = part.tower("image").config.name
    settings = open_clip_config(name)["vision_cfg"]
    width, head = int(settings.get("width", 768)), int(settings.get("head_width", 64))
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=int(width * settings.get("mlp_ratio", 4.0)),
        num_hidden_layers=int(settings.get("layers", 12)),
        num_attention_heads=width // head,
        image_size=part.image_spec().size,
        patch_size=int(settings.get("patch_size", 16)),
        projection_dim=part.config.dim,
        hidden_act=_activation(name),
    )


def text_config(part: Part) -> Any:
    """The text tower's shape."""
    from transformers import CLIPTextConfig

    name = part.tower("text").config.name
    settings = open_clip_config(name)["text_cfg"]
    width = int(settings.get("width", 512))
    tokens = clip_tokenizer(part)
    return CLIPTextConfig(
        vocab_size=int(settings.get("vocab_size", 49408)),
        hidden_size=width,
        intermediate_size=int(width * settings.get("mlp_ratio", 4.0)),
        num_hidden_layers=int(settings.get("layers", 12)),
        num_attention_heads=int(settings.get("heads", 8)),
        max_position_embeddings=int(settings.get("context_length", 77)),
        projection_dim=part.config.dim,
        hidden_act=_activation(name),
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )


def _activation(name: str) -> str:
    return "quick_gelu" if open_clip_config(name).get("quick_gelu") else "gelu"


def vision_state(part: Part) -> dict[str, Tensor]:
    """The image tower's weights, the head folded into ``visual_projection``."""
    renamed = {}
    for name, value in folded_image(part).items():
        if name == "class_embedding":
            renamed["vision_model.embeddings.class_embedding"] = value
        elif name == "conv1.weight":
            renamed["vision_model.embeddings.patch_embedding.weight"] = value
        elif name == "positional_embedding":
            renamed["vision_model.embeddings.position_embedding.weight"] = value
        elif name == "proj":
            renamed["visual_projection.weight"] = value.T
        elif name.startswith("transformer."):
            renamed |= _layer("vision_model", name, value)
        else:
            kind, _, rest = name.partition(".")
            renamed[f"vision_model.{ {'ln_pre': 'pre_layrnorm', 'ln_post': 'post_layernorm'}[kind] }.{rest}"] = value
    return renamed


def text_state(part: Part, *, fold: bool = True) -> dict[str, Tensor]:
    """The text tower's weights, the head folded into ``text_projection`` unless it stays apart."""
    renamed: dict[str, Tensor] = {}
    state = folded_text(part) if fold else dict(part.tower("text").inner.state_dict())
    for name, value in state.items():
        if name == "token_embedding.weight":
            renamed["text_model.embeddings.token_embedding.weight"] = value
        elif name == "positional_embedding":
            renamed["text_model.embeddings.position_embedding.weight"] = value
        elif name == "text_projection":
            renamed["text_projection.weight"] = value.T
        elif name.startswith("text_projection."):
            renamed[name] = value
        elif name.startswith("transformer."):
            renamed |= _layer("text_model", name, value)
        else:
            renamed[f"text_model.final_layer_norm.{name.partition('.')[2]}"] = value
    return renamed


def _layer(model: str, name: str, value: Tensor) -> dict[str, Tensor]:
    """One weight of a block; the packed query, key and value come apart."""
    _, _, number, rest = name.split(".", 3)
    place = f"{model}.encoder.layers.{number}"
    if rest.startswith("attn.in_proj_"):
        kind = rest.removeprefix("attn.in_proj_")
        parts = value.chunk(3)
        return {f"{place}.self_attn.{of}_proj.{kind}": each for of, each in zip("qkv", parts, strict=True)}
    layer, _, kind = rest.rpartition(".")
    return {f"{place}.{LAYERS[layer]}.{kind}": value}


def clip_tokenizer(part: Part) -> Any:
    """open_clip's byte pairs as a tokenizer of transformers."""
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    simple: Any = SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(token, token): number for token, number in simple.encoder.items()}
    merges: Any = list(simple.bpe_ranks)  # pairs
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=part.text_spec().context_length)


def image_processor(part: Part) -> Any:
    """Shorter side to the tower's size, centre crop, mean and deviation."""
    from transformers import CLIPImageProcessor

    size, preprocessing = part.image_spec().size, part.tower("image").preprocessing()
    return CLIPImageProcessor(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        resample=3,
        image_mean=preprocessing["mean"],
        image_std=preprocessing["std"],
    )


def names_of_text_model(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names that a text model without projection has: some versions of transformers nest it."""
    prefix = "text_model."
    if any(name.startswith(prefix) for name in model.state_dict()):
        return state
    return {name.removeprefix(prefix): value for name, value in state.items()}


def save(model: Any, state: dict[str, Tensor], folder: Path, dtype: torch.dtype) -> None:
    """Load weights into a model of transformers, every one of them, and save it in a type."""
    model.load_state_dict(state)
    model.to(dtype).save_pretrained(str(folder))
