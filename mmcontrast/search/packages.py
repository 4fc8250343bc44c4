"""The packages that search needs besides the model's."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from mmcontrast.errors import MissingPackage

SEARCH = ("faiss", "pyarrow", "bm25s")
EXPLORE = ("gradio",)


def check_packages(needed: Sequence[str] = SEARCH, *, extra: str = "search") -> None:
    """Refuse to begin without them.

    Raises:
        MissingPackage: one is not installed; names the extra.
    """
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise MissingPackage(
            f"{extra} needs {', '.join(missing)}, which is not installed: pip install 'mmcontrast[{extra}]'."
        )
