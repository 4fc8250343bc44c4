"""Heads that are trained on frozen embeddings, in seconds, and kept beside the towers that they belong to."""

from __future__ import annotations

from mmcontrast.registry import Registry

DOWNSTREAM = Registry("downstream head", "mmcontrast.downstream")
