"""Hard negatives made while rows are loaded: joined rows in another order, captions made wrong, mined neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from data_pipelines.pack import Sample, write_shards
from mmcontrast.config import parse
from mmcontrast.data.decoded import Drawn, completed
from mmcontrast.data.limits import Limits
from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.data.row_order import line_order
from mmcontrast.data.shards import open_shards
from mmcontrast.data.source import Source, SourceConfig, check_source
from mmcontrast.data.storage import Storage
from mmcontrast.errors import ConfigError, SkipSample
from mmcontrast.specs import ImageSpec, InputSpec
from tests.data.test_loader import SPECS
from tests.fixtures import COLORS, picture, tone

NAMES = list(COLORS)[:4]
CAPTIONS = (
    "a big dog chases a small cat",
    "a red cup left of an old book",
    "sun",
    "a man walks before a dog barks",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four rows of a colour and a tone each, which know their neighbours."""
    samples = [
        Sample(
            key=f"row-{row}",
            members={"png": picture(NAMES[row]), "wav": tone(200 * (row + 1))},
            info={
                "captions": [CAPTIONS[row], NAMES[row]],
                "thing": NAMES[row] if row < 3 else "a name of too many words for a scene",
                "written": ["not this", "nor that"] if row == 0 else [],
                "near": [f"row-{(row + 1) % 4}", f"row-{(row + 2) % 4}", "row-9"] if row < 3 else [],
                "wrong": 7,
                "licence": "CC0-1.0",
                "source": "made up",
            },
        )
        for row in range(4)
    ]
    columns = {
        "image": ColumnSpec(modality="image", extension="png"),
        "audio": ColumnSpec(modality="audio", extension="wav"),
        "text": ColumnSpec(modality="text", extension="json", field="captions"),
    }
    where = tmp_path_factory.mktemp("rows") / "set"
    write_shards(samples, folder=where, name="set", columns=columns, made_by={"job": "tests"})
    return str(where)


def drawn(folder: str, columns: tuple[str, ...], rows: int = 40, **fields: Any) -> list[Drawn]:
    tree = {"manifest": folder, "image": {"scale": [1, 1], "ratio": [1, 1]}, "text": {"choice": "first"}, **fields}
    config = parse(SourceConfig, tree)
    shards = open_shards(folder)
    specs: dict[str, InputSpec] = {column: SPECS[column.partition(".")[0]] for column in columns}
    specs |= {column: ImageSpec(size=32) for column in columns if column.startswith("image")}
    order = line_order(config, shards=shards, name="s", seed=0, block_rows=100, lanes=1)
    source = Source(config, shards=shards, name="s", seed=0, specs=specs, order=order)
    return completed(source.draw(position, cache=True) for position in range(rows))


def seen(view: np.ndarray) -> dict[str, tuple[float, float, int]]:
    """Name -> centre (x, y) and pixels of each colour in a scene."""
    found = {}
    for name in NAMES:
        near = np.abs(view.astype(int) - np.array(COLORS[name])[:, None, None]).sum(axis=0) < 60
        if near.sum() > 12:
            rows, places = np.nonzero(near)
            found[name] = (float(places.mean()), float(rows.mean()), int(near.sum()))
    return found


def holds(caption: str, view: np.ndarray) -> bool:
    """Whether a caption says what a scene shows."""
    things = seen(view)
    names = sorted((name for name in NAMES if name in caption.split()), key=caption.split().index)
    if len(names) != 2 or set(names) != set(things):
        return False
    (x0, y0, size0), (x1, y1, size1) = (things[name] for name in names)
    said = {
        "left": x0 < x1 - 5,
        "right": x0 > x1 + 5,
        "above": y0 < y1 - 5,
        "below": y0 > y1 + 5,
        "big": size0 > size1,
    }
    return next(fits for word, fits in said.items() if word in caption)


def test_scenes_and_their_exchange_show_what_their_captions_say(folder: str) -> None:
    derive = {
        "image.other": {"type": "other_order", "of": "image"},
        "text.other": {"type": "other_order", "of": "text"},
    }
    rows = drawn(
        folder, ("image", "text", *derive), derive=derive, scene={"probability": 0.8, "field": "thing"}, rows=80
    )
    scenes = [row for row in rows if "text.other" in row.values]
    assert 16 < len(scenes) < 60
    for row in scenes:
        assert holds(row.values["text"], row.values["image"]) and holds(
            row.values["text.other"], row.values["image.other"]
        )
        assert not holds(row.values["text.other"], row.values["image"])
    plain = [row for row in rows if "text.other" not in row.values]
    assert all(row.values["text"] in CAPTIONS and "image.other" not in row.values for row in plain)
    words = {word for row in scenes for word in row.values["text"].split()}
    assert {"left", "right", "above", "below", "big", "small"} <= words and "name" not in words
    groups = {row.values["text"]: row.group for row in scenes}
    same = [
        (caption, f"{' '.join(caption.split()[-2:])} right of {' '.join(caption.split()[:2])}")
        for caption in groups
        if " left of " in caption
    ]
    assert all(groups[one] == groups[other] for one, other in same if other in groups)


def test_joined_sounds_have_their_other_order_beside_them(folder: str) -> None:
    derive = {
        "audio.other": {"type": "other_order", "of": "audio"},
        "text.other": {"type": "other_order", "of": "text"},
    }
    splice = {"probability": 1.0, "field": "thing", "overlap": 0.3, "three": 0.3, "articles": False}
    rows = drawn(folder, ("audio", "text", *derive), derive=derive, splice=splice, where={"licence": "CC0-1.0"})
    both = [row for row in rows if "audio.other" in row.values]
    assert len(both) > 15 and all("text.other" in row.values for row in both)
    for row in both:
        assert row.values["text"] != row.values["text.other"]
        assert not np.array_equal(row.values["audio"], row.values["audio.other"])
    assert any(" while " in row.values["text"] for row in both) and any(
        row.values["text"].count("then") == 2 for row in both
    )


def test_negative_captions_are_of_the_ways_asked_for_and_never_right(folder: str) -> None:
    def texts(**made: Any) -> set[tuple[str, str | None]]:
        rows = drawn(folder, ("text", "text.n"), derive={"text.n": {"type": "negative_caption", **made}}, rows=60)
        return {(row.values["text"], row.values.get("text.n")) for row in rows}

    assert texts(ways={"noun": 1}) == {
        (CAPTIONS[0], "a big cat chases a small dog"),
        (CAPTIONS[1], "a red book left of an old cup"),
        (CAPTIONS[2], None),
        (CAPTIONS[3], "a dog walks before a man barks"),
    }
    assert (CAPTIONS[2], "no sun") in texts(ways={"negation": 1})
    events = {negative for caption, negative in texts(ways={"events": 1}) if caption == CAPTIONS[3]}
    assert events <= {
        "a dog barks before a man walks",
        "a man walks after a dog barks",
        "a man walks while a dog barks",
    }
    many = texts(
        ways={"adjective": 1, "opposite": 1, "attribute": 1, "verb": 1, "relation": 1, "adverb": 1, "words": 1}
    )
    assert len(many) > 10 and all(negative not in CAPTIONS for _, negative in many)


def test_captions_of_another_field_are_negatives_where_there_are_some(folder: str) -> None:
    derive = {"text.w": {"type": "field_caption", "field": "written"}}
    rows = drawn(folder, ("text", "text.w"), derive=derive)
    found = {row.values.get("text.w") for row in rows if row.values["text"] == CAPTIONS[0]}
    assert found == {"not this", "nor that"}
    assert all("text.w" not in row.values for row in rows if row.values["text"] != CAPTIONS[0])
    with pytest.raises(SkipSample, match="field 'wrong'"):
        drawn(folder, ("text", "text.w"), derive={"text.w": {"type": "field_caption", "field": "wrong"}})


def test_neighbours_bring_picture_and_caption_of_one_row(folder: str) -> None:
    derive = {
        "image.near": {"type": "neighbour", "of": "image", "field": "near", "most": 3},
        "text.near": {"type": "neighbour", "of": "text", "field": "near", "most": 3},
    }
    rows = drawn(folder, ("image", "text", *derive), derive=derive)
    found = set()
    for row in rows:
        own = CAPTIONS.index(row.values["text"])
        near = row.values.get("text.near")
        assert (near is None) == ("image.near" not in row.values)
        if near is not None:
            other = CAPTIONS.index(near)
            assert NAMES[other] in seen(row.values["image.near"])
            found.add((own, other))
    assert found == {(row, (row + step) % 4) for row in range(3) for step in (1, 2)}  # row-9 does not exist
    with pytest.raises(SkipSample, match="'wrong' is no list of keys"):
        drawn(folder, ("text", "text.n"), derive={"text.n": {"type": "neighbour", "of": "text", "field": "wrong"}})


def test_joining_leaves_rows_as_they_were_where_it_cannot(folder: str) -> None:
    plain = drawn(folder, ("image", "text"))
    never = drawn(folder, ("image", "text"), scene={"probability": 1.0, "field": "no such field"})
    for one, other in zip(plain, never, strict=True):
        assert (
            np.array_equal(one.values["image"], other.values["image"]) and one.values["text"] == other.values["text"]
        )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"derive": {"text.o": {"type": "other_order", "of": "text"}}}, "of rows that splice or scene joins"),
        (
            {"splice": {"probability": 1.0, "field": "a"}, "scene": {"probability": 1.0, "field": "a"}},
            "a source has one of them",
        ),
        (
            {"stream": {"columns": {}, "rows": 4}, "derive": {"text.o": {"type": "neighbour", "of": "text"}}},
            "needs an index",
        ),
        ({"derive": {"text.o": {"type": "negative_caption", "ways": {"nown": 1}}}}, "nown"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_read(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(SourceConfig, {"manifest": "set", **fields})


def test_an_unknown_tagger_is_found_by_the_check(folder: str) -> None:
    derive = {"text.n": {"type": "negative_caption", "tagger": "lite"}}
    config = parse(SourceConfig, {"manifest": folder, "derive": derive})
    (problem,) = check_source("s", config, storage=Storage(), limits=Limits())
    assert problem.startswith("data.sources.s.derive.text.n: no tagger is named 'lite'. Did you mean 'light'?")
