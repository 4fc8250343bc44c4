"""Evaluators: an encoder in, a report out."""

from __future__ import annotations

from mmcontrast.evals import EVALUATORS

__all__ = ["EVALUATORS"]
