"""Files that a model's config names, taken along: the folder of a transformers model, that of its tokenizer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from mmcontrast.errors import ConfigError
from mmcontrast.model import ModelConfig

Leaf = tuple[str, ...]  # keys from the top of a tree down to one value
TAKEN = (".json", ".txt", ".model", ".jinja")  # configs and vocabularies; weights are in the folder already


def with_copied_files(config: ModelConfig, folder: Path) -> tuple[ModelConfig, list[Leaf]]:
    """Copy what a config names under ``folder``; return the config with paths meant from there, and which they are.

    Raises:
        ConfigError: a folder that the config names is gone.
    """
    leaves: list[Leaf] = []
    for leaf, source in _paths(config, ()):
        if not source.is_dir():
            raise ConfigError(f"'{source}', which the config names at model.{'.'.join(leaf)}, is no folder here.")
        name = Path("files") / "-".join(leaf)
        (folder / name).mkdir(parents=True)
        for file in sorted(source.iterdir()):
            if file.is_file() and file.suffix in TAKEN:
                shutil.copyfile(file, folder / name / file.name)
        config = _with(config, leaf, name)
        leaves.append(leaf)
    return config, leaves


def relocated(tree: dict[str, Any], leaves: Sequence[Leaf], folder: Path) -> dict[str, Any]:
    """The plain tree of a config with its relative paths meant from ``folder``.

    Raises:
        ValueError: a path leaves the folder.
    """
    for leaf in leaves:
        branch: Any = tree
        for key in leaf[:-1]:
            branch = branch[key]
        name = Path(branch[leaf[-1]])
        if name.is_absolute() or ".." in name.parts:
            raise ValueError(f"the path '{name}' leaves the folder")
        branch[leaf[-1]] = str(folder / name)
    return tree


def _paths(value: Any, leaf: Leaf) -> Iterator[tuple[Leaf, Path]]:
    if isinstance(value, Path):
        yield leaf, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _paths(item, (*leaf, key))
    elif is_dataclass(value):
        for field in fields(value):
            yield from _paths(getattr(value, field.name), (*leaf, field.name))


def _with(value: Any, leaf: Leaf, path: Path) -> Any:
    if not leaf:
        return path
    key, rest = leaf[0], leaf[1:]
    if isinstance(value, dict):
        return {**value, key: _with(value[key], rest, path)}
    return replace(value, **{key: _with(getattr(value, key), rest, path)})
