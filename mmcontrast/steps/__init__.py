"""How a batch becomes gradients."""

from __future__ import annotations

from mmcontrast.registry import Registry

STEPS = Registry("step", "mmcontrast.steps")
