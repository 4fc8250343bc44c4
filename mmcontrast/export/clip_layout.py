"""open_clip's plain transformers in the layout of transformers' CLIP, with its tokenizer and image processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcontrast.export.formats.open_clip import folded_image, folded_text
from mmcontrast.export.key_map import KeyMap, Rule
from mmcontrast.export.part import Part
from mmcontrast.towers.open_clip_image import architecture

PLAIN_VISION = {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size", "patch_dropout"}
PLAIN_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}


def _blocks(model: str) -> tuple[Rule, ...]:
    """One of the two transformers; open_clip packs query, key and value into one matrix."""
    theirs, ours = f"{model}.encoder.layers.{{block}}", "transformer.resblocks.{block}"
    names = {
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "self_attn.out_proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    packed = tuple(f"{theirs}.self_attn.{of}_proj.{{kind}}" for of in "qkv")
    return (
        Rule(packed, f"{ours}.attn.in_proj_{{kind}}"),
        *(Rule(f"{theirs}.{their}.{{kind}}", f"{ours}.{our}.{{kind}}") for their, our in names.items()),
    )


# transformers' CLIP beside open_clip's towers, each tower's names by themselves.
VISION = KeyMap(
    (
        Rule("vision_model.embeddings.class_embedding", "class_embedding"),
        Rule("vision_model.embeddings.patch_embedding.weight", "conv1.weight"),
        Rule("vision_model.embeddings.position_embedding.weight", "positional_embedding"),
        Rule("vision_model.pre_layrnorm.{kind}", "ln_pre.{kind}"),
        Rule("vision_model.post_layernorm.{kind}", "ln_post.{kind}"),
        Rule("visual_projection.weight", "proj", transposed=True),
        *_blocks("vision_model"),
    )
)
TEXT = KeyMap(
    (
        Rule("text_model.embeddings.token_embedding.weight", "token_embedding.weight"),
        Rule("text_model.embeddings.position_embedding.weight", "positional_embedding"),
        Rule("text_model.final_layer_norm.{kind}", "ln_final.{kind}"),
        Rule("text_projection.weight", "text_projection", transposed=True),
        Rule("text_projection.{kind}", "text_projection.{kind}"),  # a layer instead of a bare matrix
        *_blocks("text_model"),
    )
)


def not_plain(part: Part, modality: str) -> str | None:
    """Why a tower of open_clip's is no plain CLIP transformer, or None."""
    name = part.tower(modality).config.name
    key, plain = ("vision_cfg", PLAIN_VISION) if modality == "image" else ("text_cfg", PLAIN_TEXT)
    settings = architecture(part.tower(modality).config)[key]
    extra = sorted(key for key, value in settings.items() if key not in plain and value)
    if extra:
        return f"'{name}' is no plain CLIP transformer: it sets {', '.join(extra)}."
    if not isinstance(settings.get("layers", 12), int):
        return f"'{name}' is a ResNet; transformers' CLIP is a ViT."
    return None


def vision_config(part: Part) -> Any:
    """The image tower's shape."""
    from transformers import CLIPVisionConfig

    known = architecture(part.tower("image").config)
    settings = known["vision_cfg"]
    width, head = int(settings.get("width", 768)), int(settings.get("head_width", 64))
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=int(width * settings.get("mlp_ratio", 4.0)),
        num_hidden_layers=int(settings.get("layers", 12)),
        num_attention_heads=width // head,
        image_size=part.image_spec().size,
        patch_size=int(settings.get("patch_size", 16)),
        projection_dim=part.config.dim,
        hidden_act=_activation(known),
    )


def text_config(part: Part) -> Any:
    """The text tower's shape."""
    from transformers import CLIPTextConfig

    known = architecture(part.tower("text").config)
    settings = known["text_cfg"]
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
        hidden_act=_activation(known),
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )


def _activation(known: dict[str, Any]) -> str:
    return "quick_gelu" if known.get("quick_gelu") else "gelu"


def vision_state(part: Part) -> dict[str, Tensor]:
    """The image tower's weights, the head folded into ``visual_projection``."""
    return VISION.to_theirs(folded_image(part))


def text_state(part: Part, *, fold: bool = True) -> dict[str, Tensor]:
    """The text tower's weights, the head folded into ``text_projection`` unless it stays apart."""
    return TEXT.to_theirs(folded_text(part) if fold else dict(part.tower("text").inner.state_dict()))


def clip_vocabulary() -> dict[str, int]:
    """open_clip's byte pairs by the names that transformers has for them."""
    from open_clip.tokenizer import SimpleTokenizer

    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    simple: Any = SimpleTokenizer()
    return {names.get(token, token): number for token, number in simple.encoder.items()}


def clip_tokenizer(part: Part) -> Any:
    """open_clip's byte pairs as a tokenizer of transformers."""
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    merges: Any = list(SimpleTokenizer().bpe_ranks)  # pairs
    return CLIPTokenizer(vocab=clip_vocabulary(), merges=merges, model_max_length=part.text_spec().context_length)


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
