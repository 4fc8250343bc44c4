"""Frozen probes: what is written is read, and what was touched since is refused with its name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmcontrast.errors import ConfigError, MissingData
from mmcontrast.probe_file import ProbeHeader, ProbeItem, read_probe, write_probe

HEAD = ProbeHeader(kind="order", name="Word order", modality="image", seed=3, source="pictures", counts={"used": 2})
ITEMS = [
    ProbeItem(id="a", category="swap", contexts=[{"row": "1"}], texts=["a über b", "b über a"], right=[[0]]),
    ProbeItem(id="b", category="swap", contexts=[{"file": "x.png"}, {"row": "2"}], texts=["x", "y"], right=[[0], [1]]),
]


def test_a_probe_is_read_as_it_was_written_and_its_bytes_depend_on_nothing_else(tmp_path: Path) -> None:
    header = write_probe(tmp_path / "one", HEAD, ITEMS)
    write_probe(tmp_path / "two", HEAD, iter(ITEMS))
    found = read_probe(tmp_path / "one")
    assert found.items == ITEMS and found.header == header == replace(HEAD, items=2, items_sha256=header.items_sha256)
    for name in ("probe.json", "items.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["items.jsonl", "probe.json"]


def test_an_edited_probe_is_refused(tmp_path: Path) -> None:
    write_probe(tmp_path, HEAD, ITEMS)
    path = tmp_path / "items.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("über b", "unter b"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"items.jsonl' was changed after it was made: its sha256 is"):
        read_probe(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"texts": ["x", 3]}, "texts that are strings"),
        ({"right": [[0], [0]]}, "1 contexts, but 'right' is for 2"),
        ({"right": [[2]]}, r"'right' is \[2\], expected positions among 2 texts"),
        ({"right": [[]]}, r"'right' is \[\[\]\]: there is nothing to choose"),
        ({"texts": ["x"]}, "there is nothing to choose"),
        ({"contexts": [{"sound": {}}]}, r"a context of image has one of file, row, scene, not \['sound'\]"),
        ({"contexts": [{"row": "1", "file": "x"}]}, "a context of image has one of"),
        ({"contexts": []}, "expected at least one context"),
        ({"id": "b"}, "two items are called 'b'"),
    ],
)
def test_items_that_no_choice_can_be_made_of_are_not_written(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        write_probe(tmp_path, HEAD, [ITEMS[1], replace(ITEMS[0], **changes)])
    assert not (tmp_path / "probe.json").exists()


def test_rows_need_a_source_and_a_probe_needs_items(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the header names no source"):
        write_probe(tmp_path, replace(HEAD, source=None), ITEMS)
    with pytest.raises(ConfigError, match="at least one item; left out: {'too_short': 7}"):
        write_probe(tmp_path, replace(HEAD, counts={"too_short": 7}), [])


def test_other_formats_and_headers_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="'mmcontrast probe make' writes probes"):
        read_probe(tmp_path)
    write_probe(tmp_path, HEAD, ITEMS)
    path = tmp_path / "probe.json"
    tree = json.loads(path.read_text(encoding="utf-8"))
    for changes, words in (
        ({"format": "mmcontrast.probe/9"}, "is of format 'mmcontrast.probe/9'; this version reads mmcontrast.probe/1"),
        ({"colour": "red"}, "unexpected keyword argument 'colour'"),
        ({"modality": "smell"}, "modality 'smell' is none of image, audio, text"),
        ({"items": 7}, "holds 2 items, 'probe.json' says 7"),
    ):
        path.write_text(json.dumps(tree | changes), encoding="utf-8")
        with pytest.raises(ConfigError, match=words):
            read_probe(tmp_path)
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected a map"):
        read_probe(tmp_path)
