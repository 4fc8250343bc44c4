"""Folders of transformers: their settings, their tokenizer, and their own forward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmcontrast.errors import CheckpointError
from mmcontrast.export.base import Read
from mmcontrast.export.formats.hf import image_reader, text_reader
from mmcontrast.importers.base import read_json

WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "pytorch_model.bin", "pytorch_model-*-of-*.bin")
OFFLINE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")


def settings_of(path: Path, kind: str) -> Any:
    """transformers' config of a folder.

    Raises:
        CheckpointError: there is none, or one of another type.
    """
    from transformers import AutoConfig

    if not path.is_dir():
        raise CheckpointError(f"'{path}' is no folder; expected config.json with weights beside it.")
    found = read_json(path / "config.json").get("model_type")
    if found != kind:
        raise CheckpointError(f"'{path}' holds a model of type '{found}'; expected '{kind}'.")
    try:
        return AutoConfig.from_pretrained(str(path), **OFFLINE)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"transformers cannot read '{path}/config.json': {error}") from error


def tokenizer_of(path: Path) -> Any | None:
    """A folder's tokenizer, or None where it has no files of one.

    Raises:
        CheckpointError: transformers cannot read them.
    """
    from transformers import AutoTokenizer

    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        return None
    try:
        return AutoTokenizer.from_pretrained(str(path), **OFFLINE)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"transformers cannot read the tokenizer in '{path}': {error}") from error


def preprocessing_of(path: Path) -> dict[str, Any]:
    """What preprocessor_config.json says of pictures or sounds; nothing where there is none."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (path / name).is_file():
            tree = read_json(path / name)
            nested = next((tree[key] for key in ("image_processor", "feature_extractor") if key in tree), tree)
            return dict(nested)
    return {}


def peer_model(path: Path) -> Any:
    """The whole model as transformers opens it, in float32.

    Raises:
        CheckpointError: it cannot.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModel

    safe = any(path.glob("*.safetensors"))
    try:
        return AutoModel.from_pretrained(str(path), use_safetensors=safe, dtype=torch.float32, **OFFLINE).eval()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"transformers cannot load '{path}': {error}") from error


def pair_reader(path: Path, modalities: Sequence[str], *, padding: bool | str, tokenizer: Any) -> Read:
    """A CLIP or SigLIP of transformers behind its own processor and tokenizer."""
    from transformers import AutoImageProcessor

    model = peer_model(path)
    encode = {}
    if "image" in modalities:
        encode["image"] = image_reader(model, AutoImageProcessor.from_pretrained(str(path), **OFFLINE))
    if "text" in modalities:
        encode["text"] = text_reader(model, tokenizer, padding=padding)
    # Its processor resizes with torchvision: a few steps of 255 from Pillow.
    return Read(encode, exact_for="own_size", empty_captions=makes_tokens_of_nothing(tokenizer))


def makes_tokens_of_nothing(tokenizer: Any | None) -> bool:
    """Whether an empty caption has tokens: a start, an end."""
    return tokenizer is None or len(tokenizer("")["input_ids"]) > 0


def version() -> str:
    """For the report."""
    import transformers

    return f"transformers {transformers.__version__}"
