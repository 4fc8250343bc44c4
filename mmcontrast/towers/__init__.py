"""Encoders of one modality each: inputs in, pooled features (and tokens) out."""

from __future__ import annotations

from mmcontrast.registry import Registry

TOWERS = Registry("tower", "mmcontrast.towers")
