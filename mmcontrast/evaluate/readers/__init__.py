"""Readers of the files that people download: one format a file, nothing unpickled, nothing fetched."""

from __future__ import annotations

from mmcontrast.registry import Registry

READERS = Registry("reader", "mmcontrast.evaluate.readers")
