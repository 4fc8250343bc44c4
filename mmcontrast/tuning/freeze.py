"""Which parameters of a tower and its head receive gradients.

What is frozen gets no gradient and no optimizer state; autograd keeps nothing below the first trained block.
"""

from __future__ import annotations

from torch import nn

from mmcontrast.errors import ConfigError
from mmcontrast.towers.base import Tower
from mmcontrast.towers.batch_norm import FrozenNorm, GroupNorm
from mmcontrast.tuning.fields import TowerTraining

NORMS = (
    nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._BatchNorm, GroupNorm, FrozenNorm,
)  # fmt: skip


def freeze(tower: Tower, fields: TowerTraining) -> None:
    """Freeze a tower but for the parts that ``fields`` unlocks.

    Relations: on open_clip's towers ``unlocked_blocks = n`` is its lock with ``unlocked_groups = n + 1``.
    Source: Zhai et al. 2021, arXiv:2111.07991 (locked-image tuning).

    Raises:
        ConfigError: the tower has fewer blocks, or not the part.
    """
    if not fields.locked:
        return
    layout, name = tower.layout(), tower.config.registry_name
    if fields.unlocked_blocks > len(layout.blocks):
        raise ConfigError(f"unlocked_blocks: {fields.unlocked_blocks}, but '{name}' has {len(layout.blocks)} blocks.")
    parts = {"embeddings": layout.embeddings, "norms": _norms(tower), "final": layout.final}
    lacking = [part for part in fields.unlocked if not parts[part]]
    if lacking:
        raise ConfigError(f"unlocked: '{name}' has no parameters that are {lacking[0]}.")
    trained = {each for part in fields.unlocked for each in parts[part]}
    if fields.unlocked_blocks:
        trained |= {each for block in layout.blocks[-fields.unlocked_blocks :] for each in block}
        trained |= set(layout.final)
    before = {each for each, parameter in tower.named_parameters() if parameter.requires_grad}
    for each, parameter in tower.named_parameters():
        # What the tower itself never trains (a pooler that is not read) stays so.
        parameter.requires_grad_(each in trained and each in before)


def _norms(tower: nn.Module) -> list[str]:
    return [
        f"{name}.{each}"
        for name, module in tower.named_modules()
        if isinstance(module, NORMS)
        for each, _ in module.named_parameters(recurse=False)
    ]


def rests(tower: nn.Module) -> bool:
    """Whether nothing of a tower is trained."""
    return not any(parameter.requires_grad for parameter in tower.parameters())
