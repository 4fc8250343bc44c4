"""How gradients become an update, on one process or many."""

from __future__ import annotations

from mmcontrast.registry import Registry

ENGINES = Registry("engine", "mmcontrast.engines")
