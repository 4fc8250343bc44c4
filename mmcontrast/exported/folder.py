"""``model.json``, ``model.safetensors``, files of tokenizers, a card, and the sha256 of every one of them.

Whoever reads a folder checks every file first: weights that changed on the way would give other embeddings silently.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mmcontrast.config import parse, to_tree
from mmcontrast.data.manifest import file_sha256
from mmcontrast.errors import CheckpointError, ConfigError
from mmcontrast.exported.dtypes import Dtype, packed, unpacked
from mmcontrast.exported.paths import Leaf, relocated, with_copied_files
from mmcontrast.model import ModelConfig

MODEL_JSON = "model.json"
WEIGHTS = "model.safetensors"
HASHES = "sha256.json"
FORMAT, VERSION = "mmcontrast towers", 1


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What a folder holds."""

    config: ModelConfig  # the exported towers alone
    state: dict[str, Tensor]  # whole weights by the model's names, dequantised
    dtype: Dtype  # as stored
    about: dict[str, Any]  # where it comes from, training config, seed, preprocessing


def is_exported(folder: Path) -> bool:
    """Whether a folder is meant to be an export of ours, sound or not."""
    return (folder / MODEL_JSON).is_file() or (folder / HASHES).is_file()


def write_exported(
    folder: Path, config: ModelConfig, state: Mapping[str, Tensor], *, dtype: Dtype, about: dict[str, Any]
) -> None:
    """Write weights, model.json and the files that the config names into an existing folder; :func:`seal` ends it."""
    from safetensors.torch import save_file

    config, leaves = with_copied_files(config, folder)
    save_file(packed(state, dtype), folder / WEIGHTS)
    tree = {
        "format": FORMAT,
        "version": VERSION,
        "dtype": dtype,
        "model": to_tree(config),
        "paths": [list(leaf) for leaf in leaves],  # values of the model's config that are meant from this folder
        **about,
    }
    (folder / MODEL_JSON).write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def seal(folder: Path) -> None:
    """Write the sha256 of every file below the folder, itself aside."""
    files = {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != HASHES
    }
    (folder / HASHES).write_text(json.dumps(files, indent=1) + "\n", encoding="utf-8")


def verify(folder: Path) -> str | None:
    """Return what is wrong with a sealed folder, or None."""
    try:
        files = json.loads((folder / HASHES).read_text(encoding="utf-8"))
        for name, digest in files.items():
            if Path(name).is_absolute() or ".." in Path(name).parts:
                return f"{HASHES} names a file outside of the folder: {name}"
            if file_sha256(folder / name) != digest:
                return f"{name} is damaged: its sha256 differs from the one in {HASHES}"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, AttributeError, TypeError) as error:
        return f"{HASHES} is damaged: {error}"
    return None


def read_exported(folder: Path) -> Exported:
    """Read a folder whose files are all what they were.

    Raises:
        CheckpointError: a file is missing or damaged, or the folder was written by a newer version; names it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    problem = verify(folder)
    if problem is None:
        named = json.loads((folder / HASHES).read_text(encoding="utf-8"))
        absent = [name for name in (MODEL_JSON, WEIGHTS) if name not in named]
        problem = f"{HASHES} does not name {absent[0]}" if absent else None
    if problem is not None:
        raise CheckpointError(f"exported folder '{folder}': {problem}. Export it again, or copy it again.")
    config, tree = _described(folder)
    try:
        state = unpacked(load_file(folder / WEIGHTS))
        about = {key: value for key, value in tree.items() if key not in ("format", "version", "model", "paths")}
        return Exported(config=config, state=state, dtype=tree["dtype"], about=about)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"exported folder '{folder}': {MODEL_JSON} or {WEIGHTS} does not read: {error}"
        ) from error


def exported_model(folder: Path) -> ModelConfig:
    """The towers of a folder, without a look at its weights.

    Raises:
        CheckpointError: its model.json does not read.
    """
    return _described(folder)[0]


def _described(folder: Path) -> tuple[ModelConfig, dict[str, Any]]:
    """What model.json says: the model, and all of it."""
    try:
        tree = json.loads((folder / MODEL_JSON).read_text(encoding="utf-8"))
        if tree["format"] != FORMAT or tree["version"] != VERSION:
            raise CheckpointError(
                f"'{folder}/{MODEL_JSON}' is of format '{tree['format']}' version {tree['version']}; this version of "
                f"mmcontrast reads '{FORMAT}' version {VERSION}."
            )
        leaves: list[Leaf] = [tuple(leaf) for leaf in tree["paths"]]
        return parse(ModelConfig, relocated(tree["model"], leaves, folder), where=f"{folder}/{MODEL_JSON}"), tree
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(f"exported folder '{folder}': {MODEL_JSON} does not read: {error}") from error
