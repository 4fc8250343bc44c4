"""Checkpoints of others as ours: each layout says which towers it holds and what its weights are called."""

from __future__ import annotations

from mmcontrast.registry import Registry

IMPORTERS = Registry("importer", "mmcontrast.importers.layouts")
