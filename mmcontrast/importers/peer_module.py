"""Single modules of packages whose own start-up would ask the network, or needs old versions of others."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from mmcontrast.errors import MissingPackage


@contextmanager
def peer_module(package: str, name: str, *, needs: tuple[str, ...] = ()) -> Iterator[ModuleType]:
    """Import ``package.name`` without running the start-up of the packages above it.

    Args:
        needs: other packages that the module imports.

    Raises:
        MissingPackage: one of them is not installed.
    """
    for each in (package, *needs):
        if importlib.util.find_spec(each) is None:
            raise MissingPackage(f"{each} is not installed: pip install --no-deps {' '.join((package, *needs))}.")
    found = importlib.util.find_spec(package)
    assert found is not None and found.submodule_search_locations
    folder, whole = found.submodule_search_locations[0], package
    before = {each: module for each, module in sys.modules.items() if each.split(".")[0] == package}
    try:
        sys.modules[package] = _stand_in(package, folder)
        for part in name.split(".")[:-1]:
            folder, whole = f"{folder}/{part}", f"{whole}.{part}"
            sys.modules[whole] = _stand_in(whole, folder)
        yield importlib.import_module(f"{package}.{name}")
    finally:  # the package starts up as usual for whoever imports it next
        for each in [each for each in sys.modules if each.split(".")[0] == package]:
            del sys.modules[each]
        sys.modules.update(before)


def _stand_in(name: str, folder: str) -> ModuleType:
    """An empty package whose modules are found in a folder."""
    module = ModuleType(name)
    module.__path__ = [folder]
    return module
