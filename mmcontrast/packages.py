"""Packages that only some commands need: refused up front, with the extra that installs them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from mmcontrast.errors import MissingPackage


def check_installed(packages: Sequence[str], *, who: str, extra: str) -> None:
    """Refuse to go on without packages; nothing is imported.

    Args:
        who: needs them.
        extra: of mmcontrast, which installs them.

    Raises:
        MissingPackage: names those that are missing, and the extra to install.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise MissingPackage(f"{who} needs {' and '.join(missing)}: pip install 'mmcontrast[{extra}]'.")
