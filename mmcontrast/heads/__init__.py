"""Maps from a tower's pooled features to the shared embedding space."""

from __future__ import annotations

from mmcontrast.registry import Registry

HEADS = Registry("head", "mmcontrast.heads")
