"""Optimizers and learning-rate schedules."""

from __future__ import annotations

from mmcontrast.registry import Registry

OPTIMIZERS = Registry("optimizer", "mmcontrast.optim")
SCHEDULES = Registry("schedule", "mmcontrast.optim")
