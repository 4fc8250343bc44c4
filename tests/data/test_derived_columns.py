"""Derived columns, labels and captions of fields: from shards, through the loader, to objectives and the check."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_pipelines.pack import Sample, write_shards
from mmcontrast.config import parse
from mmcontrast.data.derivations import DERIVATIONS
from mmcontrast.data.derivations.base import Original
from mmcontrast.data.loader import DataConfig, Loader
from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.errors import ConfigError, NeedsError
from mmcontrast.run import check
from mmcontrast.specs import AudioSpec, ImageSpec, InputSpec, TextSpec
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.hashed_words import word_id
from mmcontrast.train import train
from mmcontrast.types import Batch
from tests.fixtures import COLORS, picture, tone
from tests.small_run import losses, run_of

ROWS = 16
TEXT = TextSpec(tokenizer=TOKENIZERS.get("hashed_words").Config(), context_length=16)
SPECS: dict[str, InputSpec] = {"image": ImageSpec(size=16), "audio": AudioSpec(sample_rate_hz=8000, seconds=0.25),
                               "text": TEXT}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Rows with a picture, a sound, captions, tags and labels."""
    where = tmp_path_factory.mktemp("rows") / "set"
    samples = [
        Sample(
            key=f"row-{row:02d}",
            members={"png": picture(list(COLORS)[row % 4]), "wav": tone(200 + 10 * row)},
            info={
                "captions": [f"word{row} beside other{row}"] + (["a b"] if row % 2 else []),
                "alt": f"alt{row}",
                "tags": [f"tag{row}", "thing"],
                "nouns": ["red", "unheard-of"] if row % 2 else ["blue", "red", "green"],
                "score": row / 4,
                "pair": [row, 0.5],
                "kind": f"kind-{row % 3}",
                "licence": "CC0-1.0",
                "source": "made up",
            },
        )
        for row in range(ROWS)
    ]
    columns = {
        "image": ColumnSpec(modality="image", extension="png"),
        "audio": ColumnSpec(modality="audio", extension="wav"),
        "text": ColumnSpec(modality="text", extension="json", field="captions"),
    }
    write_shards(samples, folder=where, name="set", columns=columns, made_by={"job": "tests"}, rows_per_shard=8)
    (where / "colors.json").write_text('["red", "green", "blue"]')
    return str(where)


def first_batch(folder: str, columns: tuple[str, ...], *, workers: int = 0, **fields: Any) -> Batch:
    source = {"manifest": folder, "text": {"choice": "first"}, **fields}
    config = parse(DataConfig, {"sources": {"set": source}, "batch_rows": ROWS, "workers": workers}, where="test")
    loader = Loader(config, seed=0, specs={column: SPECS[column.partition(".")[0]] for column in columns})
    loader.seek(0, last=1)
    return next(loader).batch


def test_every_derivation_has_an_example_here() -> None:
    assert DERIVATIONS.names() == [
        "edit_words",
        "field_caption",
        "inner_crop",
        "local_crop",
        "mask_patches",
        "mask_tokens",
        "negative_caption",
        "neighbour",
        "other_caption",
        "other_order",
        "repeat_words",
        "swap_words",
        "view",
    ]


def test_a_second_view_is_drawn_apart_and_the_same_on_every_run(folder: str) -> None:
    derive = {f"{name}.view2": {"type": "view", "of": name} for name in ("image", "audio", "text")}
    fields = {"derive": derive, "image": {"scale": [0.2, 1.0], "color": 0.5}, "audio": {"gain_db": 12},
              "text": {"unknown_words": 0.5}}  # fmt: skip
    columns = (*derive, "image", "audio", "text")
    batch, again = (first_batch(folder, columns, workers=workers, **fields) for workers in (0, 1))
    for name in ("image", "audio", "text"):
        one, two = batch.columns[name], batch.columns[f"{name}.view2"]
        assert two.present.all() and one.modality == two.modality
        assert one.values.shape != two.values.shape or not torch.equal(one.values, two.values)
    for column in columns:
        assert torch.equal(batch.columns[column].values, again.columns[column].values)
    alone = first_batch(folder, ("image.view2",), **fields)  # without the column that it is a view of
    assert torch.equal(alone.columns["image.view2"].values, batch.columns["image.view2"].values)


def test_derived_columns_change_no_other_column(folder: str) -> None:
    plain = first_batch(folder, ("image", "text"), image={"scale": [0.2, 1.0]})
    derive = {"text.swapped": {"type": "swap_words"}, "image.local": {"type": "local_crop"}}
    more = first_batch(folder, ("image", "text", *derive), derive=derive, image={"scale": [0.2, 1.0]})
    for column in ("image", "text"):
        assert torch.equal(plain.columns[column].values, more.columns[column].values)
    assert more.keys == plain.keys


def test_swapped_captions_hold_the_same_words_in_another_order(folder: str) -> None:
    batch = first_batch(folder, ("text", "text.swapped"), derive={"text.swapped": {"type": "swap_words"}})
    assert batch.columns["text.swapped"].present.all()
    for caption, swapped in zip(
        *(batch.columns[name].values.tolist() for name in ("text", "text.swapped")), strict=True
    ):
        assert caption != swapped and Counter(caption) == Counter(swapped)
        assert caption[1] != swapped[1] or caption[0] == swapped[2]
    one_word = first_batch(folder, ("text.swapped",), derive={"text.swapped": {"type": "swap_words", "shortest": 9}})
    assert not one_word.columns["text.swapped"].present.any()


def test_other_captions_are_absent_where_there_is_no_other(folder: str) -> None:
    batch = first_batch(folder, ("text.view2",), derive={"text.view2": {"type": "other_caption"}})
    column = batch.columns["text.view2"]
    odd = torch.tensor([int(key[-2:]) % 2 == 1 for key in batch.keys])
    assert torch.equal(column.present, odd)
    assert {tuple(row) for row in column.values.tolist()} == {(word_id("a"), word_id("b"))}


def test_a_local_crop_shows_less_than_the_view(folder: str) -> None:
    # One pixel of the pictures is white: crops of a twentieth of the area rarely hold it.
    derive = {"image.local": {"type": "local_crop", "scale": [0.05, 0.05]}}
    batch = first_batch(
        folder, ("image", "image.local"), derive=derive, image={"scale": [1.0, 1.0], "ratio": [1.0, 1.0]}
    )
    spread = {name: batch.columns[name].values.float().std(dim=(2, 3)).mean() for name in ("image", "image.local")}
    assert spread["image.local"] < 0.5 * spread["image"]


def test_masked_captions_stand_beside_the_ones_that_are_shown(folder: str) -> None:
    masked = {"text.masked": {"type": "mask_tokens", "share": 0.5, "other": 0.0}}
    columns = ("text", "text.masked")
    batch = first_batch(folder, columns, derive=masked, text={"choice": "random"})
    again = first_batch(folder, columns, workers=1, derive=masked, text={"choice": "random"})
    ids, hidden = (batch.columns[name].values for name in ("text", "text.masked"))
    assert torch.equal(hidden, again.columns["text.masked"].values)
    real = (ids != 0).sum(dim=1)
    assert (ids != hidden).sum(dim=1).tolist() == [1 if length < 3 else 2 for length in real.tolist()]
    assert set(hidden[ids != hidden].tolist()) == {word_id("[MASK]")}
    others = first_batch(folder, columns, derive={"text.masked": {**masked["text.masked"], "other": 1.0}})
    ids, hidden = (others.columns[name].values for name in ("text", "text.masked"))
    drawn = hidden[ids != hidden]
    assert len({*drawn.tolist()}) == len(drawn) and word_id("[MASK]") not in drawn


def test_masked_pictures_are_gray_in_whole_squares_and_as_they_were_elsewhere(folder: str) -> None:
    derive = {"image.masked": {"type": "mask_patches", "patch": 4, "share": 0.5}}
    batch = first_batch(folder, ("image", "image.masked"), derive=derive, image={"scale": [0.2, 1.0]})
    shown, masked = (batch.columns[name].values for name in ("image", "image.masked"))
    gray = (masked == 127).all(dim=1).unflatten(1, (4, 4)).unflatten(3, (4, 4)).all(dim=4).all(dim=2)
    assert gray.sum(dim=(1, 2)).tolist() == [8] * ROWS  # of sixteen squares
    covered = gray.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)[:, None].expand_as(masked)
    assert torch.equal(shown[~covered], masked[~covered])


def test_an_inner_crop_tells_where_it_lies(folder: str) -> None:
    derive = {"image.inner": {"type": "inner_crop", "color": 0, "grayscale": 0, "scale": [0.3, 0.6]}}
    batch = first_batch(folder, ("image", "image.inner"), derive=derive)
    again = first_batch(folder, ("image.inner",), derive=derive)
    box = batch.labels["image.inner.box"]
    assert torch.equal(box, again.labels["image.inner.box"]) and set(box[:, 4].tolist()) == {0.0, 1.0}
    assert (box[:, :2] >= 0).all() and (box[:, :2] + box[:, 2:4] <= 1 + 1e-6).all()
    area = box[:, 2] * box[:, 3]
    assert (area > 0.3 - 1e-6).all() and (area < 0.6 + 1e-6).all()


def no_view(make_rng: Any, **changes: Any) -> Any:
    raise AssertionError("what is shown is enough")


def test_a_square_of_an_inner_crop_is_found_where_its_box_says() -> None:
    """A view that is white on its right quarter: how much of the crop is white follows from the box."""
    view = np.zeros((3, 32, 32), dtype=np.uint8)
    view[:, :, 24:] = 255
    made = DERIVATIONS.get("inner_crop")(DERIVATIONS.get("inner_crop").Config(color=0, grayscale=0))
    for seed in range(12):
        told = made.derive(Original(view, view=no_view, captions=None), partial(np.random.default_rng, seed))
        left, _, width, _, mirrored = told.labels["box"]
        white = told.value[0, 16] > 127  # along a line
        expected = [
            left + width * (share if not mirrored else 1 - share) > 0.75 for share in (np.arange(32) + 0.5) / 32
        ]
        assert (white != np.array(expected)).sum() <= 2  # the edge is blurred


def test_labels_come_in_their_kinds(folder: str) -> None:
    colors = f"{folder}/colors.json"
    labels = {"score": {"field": "score", "kind": "number"}, "kind": {"field": "kind"},
              "nouns": {"field": "nouns", "kind": "classes", "most": 2, "vocabulary": colors},
              "pair": {"field": "pair", "kind": "numbers", "most": 2}}  # fmt: skip
    batch = first_batch(folder, ("image",), labels=labels, group="kind")
    rows = [int(key[-2:]) for key in batch.keys]
    assert batch.labels["score"].tolist() == [row / 4 for row in rows]
    assert torch.equal(batch.labels["kind"], batch.labels["group"])
    assert batch.labels["pair"].tolist() == [[row, 0.5] for row in rows]
    assert batch.labels["nouns"].tolist() == [[0, -1] if row % 2 else [2, 0] for row in rows]


def test_captions_of_fields_templates_and_keywords_reach_the_tower(folder: str) -> None:
    text = {"choice": "weighted", "fields": {"alt": 1.0}, "templates": ["see {} now"]}
    rows = first_batch(folder, ("text",), text=text)
    for key, ids in zip(rows.keys, rows.columns["text"].values.tolist(), strict=True):
        assert ids == [word_id(word) for word in ("see", f"alt{int(key[-2:])}", "now")]
    keywords = {"field": "tags", "templates": ["sound of {}"], "most": 1}
    rows = first_batch(folder, ("text",), text={"fields": {"missing": 1.0}, "keywords": keywords})
    assert all(row[:2] == [word_id("sound"), word_id("of")] for row in rows.columns["text"].values.tolist())


@pytest.mark.parametrize(("fields", "message"), [
    ({"derive": {"text.swapped": {"type": "swap_word"}}}, "Did you mean 'swap_words'?"),
    ({"derive": {"image.x": {"type": "swap_words"}}}, "'swap_words' makes columns of text"),
    ({"derive": {"image.x": {"type": "view", "of": "imag"}}}, "Did you mean 'image'?"),
    ({"derive": {"image.x": {"type": "view", "of": "text"}}}, "of another modality"),
    ({"derive": {"view": {"type": "view", "of": "text"}}}, "a modality, a dot and a word"),
    ({"derive": {"image.x": {"type": "mask_patches", "patch": 7}}}, "not made of squares of 7"),
    ({"text": {"templates": ["no place"]}}, "should hold one {}"),
    ({"text": {"templates": ["nowhere.json"]}}, "no file at 'nowhere.json'"),
    ({"text": {"choice": "weighted"}}, "needs fields"),
    ({"text": {"names": "nowhere.json"}}, "no file at 'nowhere.json'"),
    ({"labels": {"group": {"field": "kind"}}}, "Set group"),
    ({"labels": {"nouns": {"field": "nouns", "vocabulary": "nowhere.json"}}}, "vocabulary: no file"),
])  # fmt: skip
def test_a_mistake_in_a_source_is_named_before_the_run(
    folder: str, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    sources = {"set": {"manifest": folder, **fields}}
    objectives = {"main": {"type": "infonce", "pairs": [["image", "text"]]}}
    with pytest.raises(ConfigError) as caught:
        check(run_of({"pictures": "", "sounds": ""}, tmp_path, data={"batch_rows": 8, "sources": sources},
                     objectives=objectives))  # fmt: skip
    assert message in str(caught.value)


def test_sources_agree_on_a_label(folder: str, tmp_path: Path) -> None:
    sources = {
        "one": {"manifest": folder, "labels": {"score": {"field": "score", "kind": "number"}}},
        "two": {"manifest": folder, "labels": {"score": {"field": "score"}}},
    }
    with pytest.raises(ConfigError, match="A label is of one shape"):
        check(run_of({"pictures": "", "sounds": ""}, tmp_path, data={"batch_rows": 8, "sources": sources}))


OBJECTIVES: dict[str, dict[str, Any]] = {
    "catlip": {"type": "catlip", "classes": 3},
    "listwise": {"type": "listwise"},
    "ranking_contrast": {"type": "ranking_contrast", "group": "group"},
    "negclip": {"type": "negclip"},
    "simclr": {"type": "simclr"},
    "masked_language": {"type": "masked_language", "vocabulary": 50},
    "macrl": {"type": "macrl", "patch": 4},
    "pixpro": {"type": "pixpro", "hidden": 16, "dim": 8},
}


def source_of(folder: str) -> dict[str, Any]:
    return {
        "manifest": folder,
        "group": "kind",
        "labels": {
            "relevance": {"field": "score", "kind": "number"},
            "nouns": {"field": "nouns", "kind": "classes", "vocabulary": f"{folder}/colors.json"},
        },
        "derive": {
            "text.swapped": {"type": "swap_words"},
            "text.masked": {"type": "mask_tokens"},
            "image.view2": {"type": "view", "of": "image"},
            "image.masked": {"type": "mask_patches", "patch": 4},
            "image.inner": {"type": "inner_crop"},
        },
    }


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_of_labels_and_derived_columns_train_from_shards(folder: str, tmp_path: Path, name: str) -> None:
    data = {"batch_rows": 8, "workers": 0, "sources": {"set": source_of(folder)}}
    run = run_of({"pictures": "", "sounds": ""}, tmp_path, steps=3, data=data, objectives={"main": OBJECTIVES[name]},
                 log={"every_steps": 1, "tensorboard": False})  # fmt: skip
    train(run)
    values = list(losses(tmp_path).values())
    assert len(values) == len({*values}) == 3 and all(map(math.isfinite, values))


def test_a_label_that_no_source_has_is_named(folder: str, tmp_path: Path) -> None:
    data = {"batch_rows": 8, "sources": {"set": {"manifest": folder}}}
    with pytest.raises(NeedsError, match=r"reads the label 'nouns', which no source provides.*labels\.nouns"):
        check(run_of({"pictures": "", "sounds": ""}, tmp_path, data=data, objectives={"main": OBJECTIVES["catlip"]}))
