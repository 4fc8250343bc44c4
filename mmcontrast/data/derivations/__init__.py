"""Columns that a source makes of its other columns: second views, crops, swapped captions."""

from __future__ import annotations

from mmcontrast.registry import Registry

DERIVATIONS = Registry("derivation", "mmcontrast.data.derivations")
