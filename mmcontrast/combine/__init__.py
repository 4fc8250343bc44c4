"""How several objectives become one loss."""

from __future__ import annotations

from mmcontrast.registry import Registry

COMBINERS = Registry("combiner", "mmcontrast.combine")
