"""Word lists that ship with the package."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any


@lru_cache(maxsize=8)
def asset_text(name: str) -> str:
    """One of the package's files of words, as it is stored."""
    return (resources.files("mmcontrast") / "assets" / "language" / name).read_text(encoding="utf-8")


def read_asset(name: str) -> dict[str, Any]:
    """One of the package's files of words."""
    found: dict[str, Any] = json.loads(asset_text(name))
    return found
