"""Frozen probes as a set: contexts of every kind, and edits of files and sources that do not pass unseen."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmcontrast.errors import ConfigError, SkipSample
from mmcontrast.evaluate.collection import open_collection
from mmcontrast.probe_file import ProbeHeader, ProbeItem, read_probe, write_probe
from tests.evaluate.choice_cases import frozen_probe
from tests.evaluate.fakes import picture
from tests.evaluate.published import put


def test_rows_files_and_scenes_become_contexts_and_items_become_queries(tmp_path: Path) -> None:
    frozen_probe(tmp_path)
    found = open_collection(f"probe:{tmp_path}")
    assert found.name == "Made up" and found.modalities == ("image",)
    assert [found.key(row) for row in range(3)] == ["things/a.png", "media/b.png", "two 0"]
    sizes = [Image.open(io.BytesIO(found.content(row, "image"))).size for row in range(3)]
    assert sizes == [(4, 4), (4, 4), (8, 4)]
    assert np.asarray(Image.open(io.BytesIO(found.content(2, "image"))))[0, 0].tolist() == [3, 0, 0]
    assert found.queries[0] == {
        "key": "one", "category": "left", "contexts": ["things/a.png", "media/b.png"], "texts": ["red 3", "red 4"],
        "right": [[0], [1]], "cluster": "things/a.png", "fields": {},
    }  # fmt: skip


def test_a_file_that_was_changed_since_is_named(tmp_path: Path) -> None:
    put(tmp_path / "x.png", picture(1))
    header = ProbeHeader(kind="order", name="x", modality="image", seed=0)
    context = {"file": "x.png", "sha256": "0" * 64}
    write_probe(tmp_path, header, [ProbeItem(id="1", category="", contexts=[context], texts=["a", "b"], right=[[0]])])
    with pytest.raises(SkipSample, match="was changed after the probe was made"):
        open_collection(f"probe:{tmp_path}").content(0, "image")


def test_another_state_of_the_source_is_refused(tmp_path: Path) -> None:
    frozen_probe(tmp_path)
    probe = read_probe(tmp_path)
    write_probe(tmp_path, replace(probe.header, source_sha256="0" * 64), probe.items)
    with pytest.raises(ConfigError, match="was made from another state of 'folder:"):
        open_collection(f"probe:{tmp_path}")


def test_a_source_may_lie_elsewhere_now(tmp_path: Path) -> None:
    frozen_probe(tmp_path / "probe")
    (tmp_path / "probe" / "source").rename(tmp_path / "source")
    put(tmp_path / "here.yaml", f"type: probe\nroot: probe\nsource: folder:{tmp_path / 'source'}\n")
    assert open_collection(str(tmp_path / "here.yaml")).content(0, "image") == picture(3)
