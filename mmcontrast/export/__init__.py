"""Towers that leave home: written for another package to load, and checked through that package."""

from __future__ import annotations

from mmcontrast.registry import Registry

EXPORTS = Registry("export format", "mmcontrast.export.formats")
