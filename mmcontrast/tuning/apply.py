"""A tower and its head, made ready to be trained as their fields say."""

from __future__ import annotations

from torch import nn

from mmcontrast.errors import ConfigError
from mmcontrast.towers.base import Tower
from mmcontrast.tuning.fields import TowerTraining
from mmcontrast.tuning.freeze import freeze
from mmcontrast.tuning.lora import add_adapters


def apply_training(tower: nn.Module, head: nn.Module, fields: TowerTraining, *, where: str) -> None:
    """Freeze, add adapters and set checkpointing, in place.

    Args:
        where: path of the fields in the config, for messages.

    Raises:
        ConfigError: the tower cannot be trained so; names the field.
        MissingPackage: adapters are asked for, and peft is not installed.
    """
    assert isinstance(tower, Tower)
    try:
        freeze(tower, fields)
        if fields.lora is not None:
            add_adapters(tower, fields.lora)
        if fields.checkpointing:
            tower.checkpoint_activations()
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from error
    if fields.frozen_head:
        head.requires_grad_(False)
