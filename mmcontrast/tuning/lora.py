"""Low-rank adapters beside the frozen layers of a tower, by peft; and a tower's weights with them merged in."""

from __future__ import annotations

import copy
import re
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from mmcontrast.errors import ConfigError, MissingPackage
from mmcontrast.towers.base import Tower
from mmcontrast.tuning.attention import SplitAttention, split_attention
from mmcontrast.tuning.fields import LoRAConfig

ADAPTER = "default"  # peft's own name of the first adapter


def add_adapters(tower: Tower, config: LoRAConfig) -> None:
    """Put adapters beside the layers that ``config`` names, or beside the linear layers of the tower's blocks.

    What else of the tower is trained stays as it is.  The second matrix of each pair starts at zero, so that the tower
    computes what it did before.

    Source: Hu et al. 2021, arXiv:2106.09685, section 4.

    Raises:
        MissingPackage: peft is not installed.
        ConfigError: no layer fits.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingPackage("lora needs peft: pip install 'mmcontrast[lora]'.") from error
    trained = [(parameter, parameter.requires_grad) for parameter in tower.parameters()]
    split_attention(tower)
    names = _targets(tower, config)
    # A regular expression that peft matches in full: of a list it would take endings.
    pattern = "|".join(re.escape(name) for name in names)
    inject_adapter_in_model(
        LoraConfig(
            r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=pattern,  # type: ignore[arg-type]
            fan_in_fan_out=_transposed(tower.get_submodule(names[0])),
        ),
        tower, adapter_name=ADAPTER,
    )  # fmt: skip
    for parameter, wanted in trained:  # peft freezes all but its own
        parameter.requires_grad_(wanted)


def _targets(tower: Tower, config: LoRAConfig) -> list[str]:
    fitting = {name: module for name, module in tower.named_modules() if _fits(module)}
    if config.targets:
        for pattern in config.targets:
            if not any(fnmatchcase(name, pattern) for name in fitting):
                raise ConfigError(
                    f"lora.targets: '{pattern}' names no layer of '{tower.config.registry_name}' that adapters fit. "
                    f"Such layers are {', '.join([*fitting][:6]) or 'none'}{', ...' if len(fitting) > 6 else ''}."
                )
        return [name for name in fitting if any(fnmatchcase(name, pattern) for pattern in config.targets)]
    inside = {name.rpartition(".")[0] for block in tower.layout().blocks for name in block}
    names = [name for name, module in fitting.items() if name in inside and not isinstance(module, nn.Conv2d)]
    if not names:
        raise ConfigError(
            f"lora: the blocks of '{tower.config.registry_name}' have no linear layers; name layers in lora.targets, "
            f"of {', '.join([*fitting][:6]) or 'none'}."
        )
    return names


def _fits(module: nn.Module) -> bool:
    # Exact types: a subclass may do more with its weight than multiply by it, and could not be merged.
    plain = type(module) in (nn.Linear, nn.Conv2d, nn.modules.linear.NonDynamicallyQuantizableLinear)
    return plain or _transposed(module)


def _transposed(module: nn.Module) -> bool:
    """Whether it is GPT-2's layer, whose matrix is stored the other way round."""
    return type(module).__module__ == "transformers.pytorch_utils" and type(module).__name__ == "Conv1D"


def plain_names(tower: nn.Module) -> dict[str, str]:
    """Name in the tower's state -> name without adapters; what belongs to the adapters alone is left out."""
    split = [name for name, module in tower.named_modules() if isinstance(module, SplitAttention)]
    result = {}
    for name in tower.state_dict():
        if ".lora_" in name:
            continue
        plain = name.replace(".base_layer.", ".")
        for attention in split:
            if plain.startswith(f"{attention}.in_proj."):
                plain = f"{attention}.in_proj_{plain.rpartition('.')[2]}"
        result[name] = plain
    return result


def merged(tower: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of the same tower without adapters: each weight with its product of two matrices added.

    Args:
        tower: built with adapters; stays as it is.
        state: of such a tower.
    """
    built = copy.deepcopy(tower)
    built.load_state_dict(state)
    names = plain_names(built)
    result = {plain: state[name] for name, plain in names.items()}
    for name, module in built.named_modules():
        layer: Any = module
        if hasattr(layer, "lora_A") and f"{name}.base_layer.weight" in names:
            with torch.no_grad():
                delta: Tensor = layer.get_delta_weight(ADAPTER)
            plain = names[f"{name}.base_layer.weight"]
            result[plain] = result[plain] + delta
    return result
