"""Single modules of packages whose own start-up asks the network for tokenizers, or needs old versions of others."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest


@contextmanager
def peer_module(package: str, name: str) -> Iterator[ModuleType]:
    """Import ``package.name`` without running the start-up of the packages above it; skip where there is none."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{package} is not installed: pip install --no-deps {package} torchlibrosa")
    pytest.importorskip("torchlibrosa", reason="laion-clap and msclap need it: pip install --no-deps torchlibrosa")
    folder, whole = found.submodule_search_locations[0], package
    before = {each: module for each, module in sys.modules.items() if each.split(".")[0] == package}
    try:
        sys.modules[package] = stand_in(package, folder)
        for part in name.split(".")[:-1]:
            folder, whole = f"{folder}/{part}", f"{whole}.{part}"
            sys.modules[whole] = stand_in(whole, folder)
        yield importlib.import_module(f"{package}.{name}")
    finally:  # the package starts up as usual for whoever imports it next
        for each in [each for each in sys.modules if each.split(".")[0] == package]:
            del sys.modules[each]
        sys.modules.update(before)


def stand_in(name: str, folder: str) -> ModuleType:
    """An empty package whose modules are found in a folder."""
    module = ModuleType(name)
    module.__path__ = [folder]
    return module
