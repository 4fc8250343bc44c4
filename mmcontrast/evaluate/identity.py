"""What a model's embeddings depend on besides its inputs, as one digest: the encoder's part of the cache's keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mmcontrast
from mmcontrast.config import to_tree
from mmcontrast.data.manifest import file_sha256
from mmcontrast.model import Model
from mmcontrast.specs import TextSpec

DECODERS = ("av", "soxr", "tokenizers", "transformers")  # packages between a file and a tower, besides the suite's
ENCODING = ("towers.", "heads.", "geometry.")  # parts of a model's state that an embedding passes through


def identity_of(model: Model, *, device: torch.device, batch_rows: int) -> str:
    """Digest of a model's weights, config, tokenizer files, device, precision, batch size, code and packages.

    Weights are read from the model and not from the file that they came from: what an objective keeps beside the
    towers counts for nothing, and a model with random weights has an identity too.
    """
    from mmcontrast.evaluate.suite import PACKAGES, versions

    parts: dict[str, Any] = {
        "weights": weights_sha256({k: v for k, v in model.state_dict().items() if k.startswith(ENCODING)}),
        "config": to_tree(model.config),
        "tokenizers": _tokenizer_files(model),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": torch.get_float32_matmul_precision(),
        "batch_rows": batch_rows,
        "code": code_sha256(),
        "versions": versions((*PACKAGES, *DECODERS)),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def towers_sha256(model: Model) -> dict[str, str]:
    """Digest of each modality's way into the shared space: weights, what its tower reads, tokenizer files.

    Unlike :func:`identity_of` it holds on every device and under every version, so that points made in one place
    are searched from another; and a tower exported alone has the digest that it had among the others.
    """
    state, tokenizers = model.state_dict(), _tokenizer_files(model)
    found = {}
    for modality, spec in model.config.specs().items():
        kept = (f"towers.{modality}.", f"heads.{modality}.", "geometry.")
        # Fields at their defaults are left out: one that a later version adds changes no digest.
        read = {
            each.name: getattr(spec, each.name) for each in fields(spec) if getattr(spec, each.name) != each.default
        }
        if isinstance(spec, TextSpec):
            read["tokenizer"] = spec.tokenizer.registry_name  # its files count, wherever they lie
        parts = [
            weights_sha256({name: value for name, value in state.items() if name.startswith(kept)}),
            model.config.geometry.registry_name,
            read,
            tokenizers.get(modality),
        ]
        found[modality] = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
    return found


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Digest of tensors with their names, types and shapes, in the order of the names."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name}\x1f{value.dtype}\x1f{tuple(value.shape)}\x1f".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@cache
def code_sha256() -> str:
    """Digest of every Python file of this package: an edited transform or tower is another encoder."""
    assert mmcontrast.__file__ is not None
    home = Path(mmcontrast.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        digest.update(f"{path.relative_to(home).as_posix()}\x1f{file_sha256(path)}\x1f".encode())
    return digest.hexdigest()


def _tokenizer_files(model: Model) -> dict[str, dict[str, str]]:
    """Digests of the files beside a tokenizer's vocabulary; weights in the same folder are in the model."""
    folders = {
        modality: Path(spec.tokenizer.folder)
        for modality, spec in model.config.specs().items()
        if isinstance(spec, TextSpec) and hasattr(spec.tokenizer, "folder")
    }
    return {
        modality: {
            path.name: file_sha256(path)
            for path in sorted(folder.iterdir())
            if path.is_file() and path.suffix in (".json", ".txt", ".model", ".jinja")
        }
        for modality, folder in folders.items()
    }
