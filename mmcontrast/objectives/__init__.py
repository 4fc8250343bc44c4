"""Losses: pure functions of embeddings, with what they read declared."""

from __future__ import annotations

from mmcontrast.registry import Registry

OBJECTIVES = Registry("objective", "mmcontrast.objectives")
