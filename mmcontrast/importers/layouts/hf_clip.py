"""CLIP of transformers: a folder with config.json, weights, and the files of its tokenizer and image processor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import CheckpointError
from mmcontrast.export.base import Read
from mmcontrast.export.clip_layout import TEXT, VISION, clip_tokenizer, clip_vocabulary
from mmcontrast.export.key_map import KeyMap
from mmcontrast.export.part import Part
from mmcontrast.heads.identity import Identity
from mmcontrast.importers import IMPORTERS
from mmcontrast.importers.base import (
    NOT_ASKED,
    POSITIONS,
    SCALE,
    Draft,
    Importer,
    Tower,
    find_weights,
    read_weights,
    scalar,
)
from mmcontrast.importers.hugging_face import (
    WEIGHTS,
    pair_reader,
    preprocessing_of,
    settings_of,
    tokenizer_of,
    version,
)
from mmcontrast.importers.open_clip_settings import image_tower, text_tower

IN_TOWER = {"image": VISION.under("", "tower.inner."), "text": TEXT.under("", "tower.inner.")}


@IMPORTERS.register("hf_clip")
class HuggingFaceCLIP(Importer):
    """Plain CLIP of transformers, as the towers of open_clip that compute the same."""

    packages = ("transformers", "open_clip")

    @config
    class Config:
        """No fields."""

    def read(self, path: Path, modalities: Sequence[str], scratch: Path) -> Draft:
        """Read the folder; each tower becomes one of open_clip's, by name where it has one."""
        settings = settings_of(path, "clip")
        files = find_weights(path, WEIGHTS)
        state = read_weights(files)
        towers, notes = {}, []
        if "image" in modalities:
            model = _architecture(settings, settings.vision_config)
            prepared = preprocessing_of(path)
            known = {"mean": prepared.get("image_mean"), "std": prepared.get("image_std")}
            tower = image_tower(model, known, scratch, frozen=False)
            towers["image"] = Tower(tower=tower, head=Identity.Config(), key_map=IN_TOWER["image"])
        if "text" in modalities:
            notes = _check_tokens(path, settings.text_config)
            tower = text_tower(_architecture(settings, settings.text_config), scratch, where=path)
            towers["text"] = Tower(tower=tower, head=Identity.Config(), key_map=IN_TOWER["text"])
        left_out = {"logit_scale": SCALE}
        left_out |= {f"{of}_model.embeddings.position_ids": POSITIONS for of in ("vision", "text")}
        left_out |= dict.fromkeys(_names_without(towers), NOT_ASKED)
        return Draft(
            towers=towers,
            dim=int(settings.projection_dim),
            state=state,
            files=files,
            left_out=left_out,
            logit_scale=scalar(state, "logit_scale"),
            notes=notes,
        )

    def peer(self, path: Path, part: Part) -> tuple[str, Read]:
        """``AutoModel`` of the same folder."""
        tokenizer = (tokenizer_of(path) or clip_tokenizer(part)) if "text" in part.modalities else None
        return version(), pair_reader(path, part.modalities, padding=True, tokenizer=tokenizer)


def _names_without(towers: dict[str, Tower]) -> list[str]:
    """Patterns of the names of towers that are not read."""
    maps: list[KeyMap] = [each for modality, each in IN_TOWER.items() if modality not in towers]
    return [name for each in maps for rule in each.rules for name in rule.parts]


def _architecture(settings: Any, tower: Any) -> dict[str, Any]:
    """open_clip's settings of a model that has this tower."""
    if tower.hidden_act not in ("gelu", "quick_gelu"):
        raise CheckpointError(f"its activation is '{tower.hidden_act}'; CLIP's towers have gelu or quick_gelu.")
    vision, text = settings.vision_config, settings.text_config
    model = {
        "embed_dim": int(settings.projection_dim),
        "vision_cfg": {
            "image_size": vision.image_size,
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "patch_size": vision.patch_size,
            **_sizes(vision),
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "heads": text.num_attention_heads,
            **_sizes(text),
        },
    }
    return {**model, "quick_gelu": True} if tower.hidden_act == "quick_gelu" else model


def _sizes(tower: Any) -> dict[str, Any]:
    width, inside = tower.hidden_size, tower.intermediate_size
    ratio = inside / width if int(width * (inside / width)) == inside else (inside + 0.5) / width
    found = {"layers": tower.num_hidden_layers, "width": width, "mlp_ratio": ratio}
    return found if tower.layer_norm_eps == 1e-5 else {**found, "norm_kwargs": {"eps": tower.layer_norm_eps}}


def _check_tokens(path: Path, text: Any) -> list[str]:
    """Refuse other vocabularies than CLIP's, and other places to read a caption at than its end token."""
    vocabulary = clip_vocabulary()
    last = max(vocabulary.values())
    if text.eos_token_id not in (2, last):  # 2: an old default that means the largest id
        raise CheckpointError(f"'{path}' reads a caption at id {text.eos_token_id}; CLIP's end token is {last}.")
    tokenizer = tokenizer_of(path)
    if tokenizer is None:
        if text.vocab_size != len(vocabulary):
            raise CheckpointError(f"'{path}' has {text.vocab_size} tokens and no tokenizer; CLIP's has {last + 1}.")
        return ["the folder has no tokenizer; CLIP's byte pairs are taken."]
    if tokenizer.get_vocab() != vocabulary:
        raise CheckpointError(
            f"the tokenizer of '{path}' is not CLIP's byte pairs, which the text tower reads. Import the image tower "
            "alone: --tower image."
        )
    return []
