"""SigLIP of transformers: a folder with config.json, weights, and the files of its tokenizer and image processor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mmcontrast.config import config
from mmcontrast.errors import CheckpointError
from mmcontrast.export.base import Read
from mmcontrast.export.key_map import KeyMap, Rule
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
from mmcontrast.towers import TOWERS
from mmcontrast.towers.hugging_face_image import HALF, HuggingFaceImage
from mmcontrast.towers.siglip_text import SiglipText

PARTS = {"image": "vision_model", "text": "text_model"}
SQUASHED = "SigLIP squashes pictures that are not square; here their centre square is read."


@IMPORTERS.register("hf_siglip")
class HuggingFaceSiglip(Importer):
    """SigLIP of transformers; captions are filled up to their full length, as it was trained."""

    packages = ("transformers",)

    @config
    class Config:
        """No fields."""

    def read(self, path: Path, modalities: Sequence[str], scratch: Path) -> Draft:
        """Read the folder; each tower is the model of transformers itself, with its head."""
        settings = settings_of(path, "siglip")
        files = find_weights(path, WEIGHTS)
        state = read_weights(files)
        made = {"image": self._image, "text": self._text}
        configs = {modality: made[modality](path, settings, scratch / modality) for modality in modalities}
        towers = {
            modality: Tower(tower=each, head=Identity.Config(), key_map=_key_map(PARTS[modality], each))
            for modality, each in configs.items()
        }
        left_out = {"logit_scale": SCALE, "logit_bias": SCALE}
        left_out |= {f"{of}.embeddings.position_ids": POSITIONS for of in PARTS.values()}
        left_out |= {f"{of}.{{rest}}": NOT_ASKED for modality, of in PARTS.items() if modality not in towers}
        return Draft(
            towers=towers,
            dim=int(settings.vision_config.hidden_size),
            state=state,
            files=files,
            left_out=left_out,
            logit_scale=scalar(state, "logit_scale"),
            logit_bias=scalar(state, "logit_bias"),
            notes=[SQUASHED] if "image" in modalities else [],
        )

    def peer(self, path: Path, part: Part) -> tuple[str, Read]:
        """``AutoModel`` of the same folder, captions filled up to its full length."""
        tokenizer = None
        if "text" in part.modalities:
            tokenizer = _tokenizer(path)
            tokenizer.model_max_length = part.text_spec().context_length
        return version(), pair_reader(path, part.modalities, padding="max_length", tokenizer=tokenizer)

    def _image(self, path: Path, settings: Any, folder: Path) -> Any:
        if not settings.vision_config.vision_use_head:
            raise CheckpointError(f"'{path}' has no attention pooling, which is SigLIP's embedding.")
        settings.vision_config.save_pretrained(str(folder))
        known = preprocessing_of(path)
        mean, std = (tuple(known.get(key) or HALF) for key in ("image_mean", "image_std"))
        return HuggingFaceImage.Config(folder=folder, mean=mean, std=std)

    def _text(self, path: Path, settings: Any, folder: Path) -> Any:
        tokenizer = _tokenizer(path)
        settings.text_config.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
        return SiglipText.Config(
            folder=folder,
            context_length=int(settings.text_config.max_position_embeddings),
            pad_id=int(tokenizer.pad_token_id),
            mask_padding="attention_mask" in tokenizer.model_input_names,
        )


def _tokenizer(path: Path) -> Any:
    found = tokenizer_of(path)
    if found is None or found.pad_token_id is None:
        raise CheckpointError(
            f"'{path}' has no tokenizer with a padding token. Import the image tower alone: --tower image."
        )
    return found


def _key_map(part: str, tower: Any) -> KeyMap:
    """Their names with our prefix; before version 5, transformers has another module around a tower by itself."""
    with torch.device("meta"):  # names without weights
        inner = TOWERS.build(tower).inner
    nested = any(name.startswith(f"{part}.") for name in inner.state_dict())
    return KeyMap((Rule(f"{part}.{{rest}}", f"tower.inner.{part}.{{rest}}" if nested else "tower.inner.{rest}"),))
