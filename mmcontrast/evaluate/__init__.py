"""Evaluators: an encoder in, a report out."""

from __future__ import annotations

from mmcontrast.registry import Registry

EVALUATORS = Registry("evaluator", "mmcontrast.evaluate")
