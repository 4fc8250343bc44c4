"""Each tiny peer, saved and imported once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from mmcontrast.importers.run_import import Imported, import_checkpoint
from tests.importers.peers import PEERS, Peer

Make = Callable[[str], tuple[Peer, Imported]]


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Peers by their names, with what their import wrote."""

    @cache
    def make(name: str) -> tuple[Peer, Imported]:
        home: Path = tmp_path_factory.mktemp("peers")
        (home / "peer").mkdir()
        peer = PEERS[name](home / "peer")
        return peer, import_checkpoint(peer.path, home / "ours", layout=peer.layout, fields=peer.fields)

    return make
