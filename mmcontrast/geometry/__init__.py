"""Where embeddings live."""

from __future__ import annotations

from mmcontrast.registry import Registry

GEOMETRIES = Registry("geometry", "mmcontrast.geometry")
