"""Each filter against hand-made captions, pictures and sounds; parts of speech and relations as one reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from data_pipelines.filters import FILTERS
from data_pipelines.filters.silence import silent_share
from data_pipelines.filters.text_spotting import longest_common, read_text
from data_pipelines.media import Sound
from data_pipelines.relations import Relations, relations
from mmcontrast.data.manifest import ColumnSpec, Manifest, ShardInfo
from tests.data_pipelines.conftest import EMOJI, TRIMODAL, dropped_of, rows_of
from tests.fixtures import make_set

Run = Callable[..., str]
MANIFEST = Manifest(
    name="made-up",
    columns={"text": ColumnSpec(modality="text", extension="json", field="captions")},
    shards=(ShardInfo(path="a.tar", rows=1, bytes=1, sha256=""),),
)


def passes(name: str, caption: str, **fields: Any) -> bool:
    made = FILTERS.get(name)(FILTERS.get(name).Config(**fields), manifest=MANIFEST)
    return made.reason(made.measure_caption(caption), None) is None


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a dog", Relations(0, 0)),
        ("A black cat is chasing a small brown bird.", Relations(3, 1)),  # small, brown, chased
        ("a red square", Relations(1, 0)),
        ("photo of a dog", Relations(1, 0)),
        ("a man riding a horse on the beach", Relations(2, 1)),  # the horse: ridden, on the beach
        ("IMG 2033", Relations(0, 0)),
    ],
)
def test_relations_and_actions_of_captions(caption: str, expected: Relations) -> None:
    assert relations(caption) == expected
    assert passes("complexity", caption) == (expected.most >= 1)
    assert passes("action", caption) == (expected.actions >= 1)


def test_language_keeps_what_it_cannot_judge() -> None:
    assert passes("language", "a black cat is sitting on the old wooden table")
    assert not passes("language", "un chat noir est assis sur la vieille table en bois")
    assert passes("language", "un chat noir est assis sur la vieille table en bois", keep=("en", "fr"))
    assert passes("language", "chat noir")  # 8 letters: unjudged


def test_length_counts_words_and_characters() -> None:
    assert [passes("caption_length", "one two three", min_words=least) for least in (2, 3, 4)] == [True, True, False]
    assert not passes("caption_length", "one two three", max_words=2)
    assert not passes("caption_length", "one two three", max_characters=12)


def test_silence_is_a_share_of_frames() -> None:
    wave = np.zeros(8000, dtype=np.float32)
    wave[:2000] = 0.5
    assert silent_share(Sound(wave, 8000), level_db=-60, frame_seconds=0.02) == pytest.approx(0.75, abs=0.011)
    assert silent_share(Sound(wave[:10], 8000), level_db=-60, frame_seconds=0.02) == 0.0


def test_text_spotting_reads_a_picture_of_its_caption() -> None:
    pytest.importorskip("rapidocr_onnxruntime")
    image = Image.new("RGB", (420, 120), "white")
    ImageDraw.Draw(image).text((20, 30), "SUMMER SALE", fill="black", font=ImageFont.load_default(48))
    assert "summersale" in "".join(read_text(image, confidence=0.8)).replace(" ", "").lower()
    assert read_text(Image.new("RGB", (100, 100), "white"), confidence=0.8) == []
    assert longest_common("bigsummersalenow", "thesummersale") == len("summersale")
    assert longest_common("abc", "xyz") == longest_common("", "a") == 0


def test_captions_go_one_by_one_and_the_row_with_its_last(tmp_path: Path, data: Run) -> None:
    source = make_set(tmp_path / "source", columns=("image", "text"), rows=8, rows_per_shard=4)
    long = "filters={long: {type: caption_length, min_words: 5}}"  # "a red square, number 3" stays
    data("run", "filter", f"out={tmp_path}/a", f"source={source}", long)
    assert [row.info()["captions"] for row in rows_of(tmp_path / "a")] == [
        row.info()["captions"][1:] for row in rows_of(source)
    ]
    named = "filters={named: {type: caption_length, min_words: 3}, longer: {type: caption_length, min_words: 9}}"
    said = data("run", "filter", f"out={tmp_path}/b", f"source={source}", named, code=2)
    assert "no row of" in said and "is left" in said


@pytest.mark.parametrize("kind", ["duration", "silence"])
def test_a_filter_of_a_column_that_the_set_lacks_is_a_mistake(kind: str, tmp_path: Path, data: Run) -> None:
    filters = f"filters={{sound: {{type: {kind}}}}}"
    said = data("run", "filter", f"out={tmp_path}/a", f"source={EMOJI}", filters, code=2)
    assert "filters.sound: 'emoji-unseen-concepts' has no column 'audio'; it has: image, text." in said


def test_media_filters_measure_and_drop(tmp_path: Path, data: Run) -> None:
    filters = "{size: {type: resolution, min_side: 81}}"
    said = data("run", "filter", f"out={tmp_path}/a", f"source={TRIMODAL}", f"filters={filters}", code=2)
    assert "is left" in said  # every picture has 80 pixels
    filters = (
        "{size: {type: resolution, min_side: 80}, shape: {type: aspect}, length: {type: duration, max_seconds: 3}}"
    )
    data("run", "filter", f"out={tmp_path}/b", f"source={TRIMODAL}", f"filters={filters}")
    assert len(rows_of(tmp_path / "b")) == 95
    filters = "{level: {type: silence, level_db: -30, most: 0.9}}"
    data("run", "filter", f"out={tmp_path}/c", f"source={TRIMODAL}", f"filters={filters}")
    dropped = dropped_of(tmp_path / "c")
    assert 0 < len(dropped) < 95
    assert all(row["reason"] == "level: audio mostly silent" and float(row["detail"]) > 0.9 for row in dropped)
