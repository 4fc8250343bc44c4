"""Models of transformers from local folders, and what towers made of them share."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from torch import nn

from mmcontrast.errors import ConfigError, MissingPackage
from mmcontrast.towers.base import Layout, layout_of

OFFLINE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def read_settings(folder: Path) -> Any:
    """transformers' config of a folder.

    Raises:
        ConfigError: no config.json there, or one that transformers does not know.
        MissingPackage: transformers is not installed.
    """
    try:
        from transformers import AutoConfig
    except ImportError as error:
        raise MissingPackage("models of Hugging Face need transformers: pip install 'mmcontrast[hf]'.") from error
    if not (folder / "config.json").is_file():
        raise ConfigError(f"no config.json in '{folder}', which should hold a transformers model.")
    try:
        return AutoConfig.from_pretrained(str(folder), **OFFLINE)
    except (OSError, ValueError) as error:
        raise ConfigError(f"transformers does not know the model of '{folder}': {error}") from error


def read_model(folder: Path) -> nn.Module:
    """The model of a folder: with its weights where it holds model.safetensors, else with random ones.

    Raises:
        ConfigError: no config.json there, or one of which transformers makes no model.
        MissingPackage: transformers is not installed.
    """
    settings = read_settings(folder)
    from transformers import AutoModel, SiglipTextModel

    if settings.model_type == "siglip_text_model":  # which AutoModel does not know
        made: Any = SiglipTextModel
        build = made._from_config
    else:
        made, build = AutoModel, AutoModel.from_config
    if (folder / "model.safetensors").is_file():
        return made.from_pretrained(str(folder), use_safetensors=True, **OFFLINE)
    return build(settings)


def transformers_layout(inner: nn.Module) -> Layout | None:
    """What is registered before the longest list of modules; that list; the rest.  None where there is no list."""
    lists = {name: module for name, module in inner.named_modules() if isinstance(module, nn.ModuleList)}
    name = max(lists, key=lambda name: len(lists[name]), default=None)
    if name is None:
        return None
    names = [each for each, _ in inner.named_parameters()]
    first = next(number for number, each in enumerate(names) if each.startswith(f"{name}."))
    blocks = [[f"{name}.{number}"] for number in range(len(lists[name]))]
    return layout_of(inner, embeddings=names[:first], blocks=blocks, prefix="inner.")


def checkpoint_transformers(inner: Any, folder: Path) -> None:
    """Switch on transformers' own checkpointing.

    Raises:
        ConfigError: it does not offer it for this model.
    """
    if not inner.supports_gradient_checkpointing:
        raise ConfigError(f"checkpointing: transformers does not offer it for '{folder}'.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # transformers 5.2 renames it; both know this name
        inner.gradient_checkpointing_enable({"use_reentrant": False})
