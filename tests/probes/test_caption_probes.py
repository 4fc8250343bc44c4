"""Probes of changed captions: deterministic, right first, wrong ones wrong, and what is left out is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmcontrast.config import parse
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Entry, Listed
from mmcontrast.probe_file import ProbeItem, read_probe
from mmcontrast.probes import MAKERS
from mmcontrast.probes.base import Maker
from mmcontrast.probes.command import make_probe
from tests.probes.sets import CAPTIONS, captioned

KINDS = ("order", "swap", "attribute", "edit", "position", "negation")


def made(kind: str, collection: Listed, **fields: Any) -> tuple[list[ProbeItem], Maker]:
    config = parse(MAKERS.get(kind).Config, fields)
    maker: Maker = MAKERS.build(config, collection=collection)
    return list(maker.items()), maker


@pytest.mark.parametrize("kind", KINDS)
def test_items_ask_for_a_caption_among_others_and_do_not_depend_on_other_rows(kind: str) -> None:
    items, maker = made(kind, captioned())
    assert items and maker.modality == "image"
    for item in items:
        number = int(item.contexts[0]["row"][1:])
        assert item.right == [[0]] and len(set(item.texts)) == len(item.texts) >= 2
        assert item.category in ("denied", "hybrid") or item.texts[0] == CAPTIONS[number][0]
        assert not set(item.texts[1:]) & set(CAPTIONS[number])
    assert made(kind, captioned())[0] == items
    others = [[item.texts for item in made(kind, captioned(), seed=seed)[0]] for seed in range(1, 4)]
    assert any(texts != [item.texts for item in items] for texts in others)
    if kind in ("order", "swap", "attribute"):
        alone = Listed("one", [captioned().entries[0]])
        assert made(kind, alone)[0] == [item for item in items if item.cluster == "p0"]


def test_captions_too_short_are_counted() -> None:
    _, maker = made("order", captioned())
    assert maker.counts == {"rows": 6, "captions": 6, "too_short": 2}
    items, maker = made("position", captioned(), captions="all")
    assert maker.counts["too_short"] == 8 and {item.category for item in items} == {"1 first", "2 middle", "3 last"}
    with pytest.raises(ConfigError, match="made of text, not of image"):
        made("order", Listed("empty", [Entry("a", {"pets": "x"})]), modality="image")


def test_at_most_so_many_items_of_a_category_are_drawn() -> None:
    items, maker = made("swap", captioned(), most=1, kinds=["noun"])
    assert len(items) == 1 and maker.counts["not_drawn"] == len(made("swap", captioned(), kinds=["noun"])[0]) - 1 > 0


def test_a_negation_probe_names_what_other_rows_show() -> None:
    items, _ = made("negation", captioned(), captions="first")
    hybrids = [item for item in items if item.category == "hybrid"]
    assert {item.category for item in items} == {"affirmed", "denied", "hybrid"}
    assert {text for item in hybrids for text in item.texts} == {
        "a sun but no red umbrella",
        "a red umbrella but no sun",
    }


def test_a_probe_of_a_table_is_written_with_its_source_and_cannot_be_written_twice(tmp_path: Path) -> None:
    for number, (first, _) in enumerate(CAPTIONS):
        (tmp_path / f"{number}.png").write_bytes(captioned().content(number, "image"))
        assert "," not in first
    lines = ["file,caption", *(f"{number}.png,{texts[0]}" for number, texts in enumerate(CAPTIONS))]
    table = tmp_path / "captions.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path / "probe"
    header = make_probe("swap", str(table), out, ["media.image=file", "kinds=[noun]"])
    probe = read_probe(out)
    assert probe.header == header and header.modality == "image" and header.source == str(out / "source.yaml")
    assert (
        header.counts["rows"] == len(CAPTIONS)
        and header.tagger is not None
        and header.tagger["identity"].startswith("light")
    )
    with pytest.raises(ConfigError, match="exists. A probe is frozen"):
        make_probe("swap", str(table), out)


def test_captions_alone_are_compared_with_another_caption_of_the_row(tmp_path: Path) -> None:
    table = tmp_path / "captions.jsonl"
    table.write_text('{"captions": ["a dog chases a cat", "a cat runs from a dog"]}\n{"captions": ["x"]}\n', "utf-8")
    header = make_probe("swap", str(table), tmp_path / "probe", ["kinds=[noun]"])
    assert header.modality == "text" and header.counts["one_caption"] == 1
    (item,) = read_probe(tmp_path / "probe").items
    assert item.contexts == [{"text": "a cat runs from a dog"}]
    assert item.texts == ["a dog chases a cat", "a cat chases a dog"]


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("swop", [], "no probe is named 'swop'. Did you mean 'swap'"),
        ("swap", ["tagger=lite"], "no tagger is named 'lite'"),
        ("swap", ["kind=[noun]"], "kind: no such key"),
        ("swap", ["modality=audio"], "has image; this probe can be made of image, text, not of audio"),
        ("temporal", [], "this probe is made of audio, which this set has not"),
        ("swap", ["field=words"], "has no field 'words'"),
        ("swap", ["where.label=cat"], r"no row has \{'label': 'cat'\}"),
        ("swap", ["media.image=x"], "media: for a table by itself alone"),
    ],
)
def test_mistakes_are_named(kind: str, settings: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        make_probe(kind, "package:quickstart/emoji-unseen-concepts", tmp_path / "probe", settings)
    assert not (tmp_path / "probe").exists()
