"""Modules of packages that only some installations have, for tests: without the package they are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType

import pytest

from mmcontrast.errors import MissingPackage
from mmcontrast.importers import peer_module as importers


@contextmanager
def peer_module(package: str, name: str) -> Iterator[ModuleType]:
    """``package.name`` of laion-clap or msclap, which both need torchlibrosa."""
    with ExitStack() as stack:
        try:
            module = stack.enter_context(importers.peer_module(package, name, needs=("torchlibrosa",)))
        except MissingPackage as error:
            pytest.skip(str(error))
        yield module
