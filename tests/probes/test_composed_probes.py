"""Probes put together from labelled pictures and sounds: known layout, known order in time."""

from __future__ import annotations

import csv
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mmcontrast.data.decode import decode_audio
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Entry, Listed
from mmcontrast.evaluate.recipes import Scene, Sound
from mmcontrast.probes.temporal import COMPA_FILE, loudest_stretch
from tests.probes.sets import labelled, picture, sound
from tests.probes.test_caption_probes import made


def test_scenes_stand_where_their_captions_say() -> None:
    items, maker = made("scene", labelled("image"), items=6, pixels=100)
    assert Counter(item.category for item in items) == {"side": 6, "height": 6, "size": 6}
    for item in items:
        rows = [[part["row"] for part in context["scene"]["parts"]] for context in item.contexts]
        assert rows[0] == rows[1][::-1] and item.right == [[0], [1]]
        for context, text in zip(item.contexts, item.texts, strict=True):
            (one, first), (other, second) = ((part["row"], part["box"]) for part in context["scene"]["parts"])
            names = [name.rsplit("-", 1)[0] for name in (one, other)]
            before = text.index(names[0]) < text.index(names[1])
            if item.category == "side":
                assert first[0] + first[2] <= second[0] and (" left of " in text) == before
            elif item.category == "height":
                assert first[1] + first[3] <= second[1] and (" above " in text) == before
            else:
                assert first[2] > 2 * second[2] and f"big {names[0]} and a small {names[1]}" in text
            Scene.of(context["scene"], where="here")
    assert maker.counts["names"] == 4
    sides = [context["scene"]["parts"][0]["box"][0] for item in items[12:] for context in item.contexts]
    assert len(set(sides)) == 2  # the big one is left or right


def test_every_name_is_first_as_often_as_second() -> None:
    items, _ = made("scene", labelled("image"), items=8, relations=["side"])
    firsts = Counter(item.contexts[0]["scene"]["parts"][0]["row"].rsplit("-", 1)[0] for item in items)
    assert set(firsts.values()) == {2}


def test_a_bias_probe_replaces_one_thing_of_the_caption_and_draws_all_others() -> None:
    items, _ = made("bias", labelled("image"), items=5, things=3, pixels=100)
    assert Counter(item.category for item in items) == dict.fromkeys(
        ("mentioned first", "mentioned second", "mentioned third", "size, big", "size, small"), 5
    )
    for item in items:
        right, wrong = (text.replace(" and ", ", ").split(", ") for text in item.texts)
        parts = item.contexts[0]["scene"]["parts"]
        assert [part["row"].rsplit("-", 1)[0] in name for part, name in zip(parts, right, strict=True)] == [True] * 3
        changed = [place for place in range(3) if right[place] != wrong[place]]
        widths = [part["box"][2] for part in parts]
        assert len(changed) == 1 and wrong[changed[0]] not in right
        if item.category.startswith("size"):
            assert (widths[changed[0]] == max(widths)) == (item.category == "size, big") and len(set(widths)) == 2
        else:
            assert len(set(widths)) == 1 and item.category.endswith(("first", "second", "third")[changed[0]])


def heard(recipe: dict[str, object], set_: Listed, at: float) -> float:
    """Loudest frequency of a tenth of a second."""
    places = {set_.key(position): position for position in range(len(set_))}
    wave = Sound.of(recipe, where="here").wave(lambda key: set_.content(places[key], "audio"))
    part = wave[round(at * 8000) : round(at * 8000) + 800]
    return float(np.abs(np.fft.rfft(part)).argmax() * 10)


def test_sounds_are_heard_in_the_order_of_their_captions() -> None:
    tones = labelled("audio")
    hertz = {tones.key(place): 200 + 100 * place for place in range(len(tones))}
    items, maker = made("temporal", tones, items=4, seconds=0.9, sample_rate_hz=8000)
    assert Counter(item.category for item in items) == dict.fromkeys(
        ("1 one event", "2 both of two", "3 order", "4 before, after or while", "5 other words", "5 three events"), 4
    )
    assert maker.counts == {"rows": 8, "names": 4}
    for item in items:
        first = item.contexts[0]["sound"]
        rows = [part["row"] for part in first["parts"]]
        names = [row.rsplit("-", 1)[0] for row in rows]
        text = item.texts[item.right[0][0]]
        if item.category == "3 order":
            assert [heard(first, tones, at) for at in (0.2, 0.7)] == [hertz[row] for row in rows]
            later_named_first = " after " in text
            assert (text.index(names[0]) > text.index(names[1])) == later_named_first
        elif item.category == "4 before, after or while":
            assert [part["at_seconds"] for part in item.contexts[2]["sound"]["parts"]] == [0, 0]
            assert [" before " in item.texts[0], " after " in item.texts[1], " while " in item.texts[2]] == [True] * 3
            assert item.right == [[0], [1], [2]]
        elif item.category == "5 three events":
            assert [heard(first, tones, at) for at in (0.1, 0.4, 0.7)] == [hertz[row] for row in rows]
            assert len(set(item.texts)) == 6 and [text.index(name) for name in names] == sorted(map(text.index, names))
        elif item.category == "2 both of two":
            assert item.right == [[0, 1]] and all(name in item.texts[place] for place, name in enumerate(names))


def test_clips_that_are_short_or_silent_are_counted_and_not_used() -> None:
    bad = {"whisper|0": partial(sound, 300.0, 0.2), "hum|0": partial(sound, 300.0, 1.0, at=2.0)}
    items, maker = made("temporal", labelled("audio", bad), items=20, seconds=0.9, levels=[3])
    assert maker.counts["clip_too_short"] == 1 and maker.counts["silent"] == 1
    assert not any(name in text for item in items for text in item.texts for name in ("whisper", "hum"))
    assert not made("temporal", labelled("audio"), seconds=60.0, levels=[3])[0]


def test_the_loudest_stretch_of_a_clip_is_taken() -> None:
    wave = decode_audio(sound(400.0, 2.0, at=1.2), key="x", sample_rate_hz=8000)
    start = loudest_stretch(wave, 4000)
    assert start is not None and 9500 <= start <= 12000


def test_files_are_written_in_the_form_of_compa(tmp_path: Path) -> None:
    tones = labelled("audio")
    items, maker = made("temporal", tones, items=2, seconds=0.6, levels=[4], sample_rate_hz=8000, files=True)
    maker.write_beside(tmp_path, items)
    with (tmp_path / COMPA_FILE).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 and rows[0]["pair_caption"] == items[0].texts[0]
    content = (tmp_path / "sounds" / rows[0]["triplet_file"]).read_bytes()
    assert len(decode_audio(content, key="x", sample_rate_hz=8000)) == 4800


def test_pairs_can_be_prescribed(tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text('[["dog", "owl"], ["dog", "fish"]]', encoding="utf-8")
    items, _ = made("scene", labelled("image"), items=6, relations=["side"], pairs=str(path))
    assert len(items) == 2 and items[0].texts != items[1].texts
    assert all("dog" in text and "owl" in text for item in items for text in item.texts)
    path.write_text('[["fish", "bear"]]', encoding="utf-8")
    with pytest.raises(ConfigError, match="no pair of .* has both its names in 'things'"):
        made("scene", labelled("image"), pairs=str(path))


def test_one_name_alone_makes_no_pairs() -> None:
    alone = Listed("dogs", [Entry("a", {"label": "dog"}, {"image": partial(picture, 1)})])
    with pytest.raises(ConfigError, match=r"'dogs': 1 name\(s\) in field 'caption', and putting things"):
        made("scene", alone)
    with pytest.raises(ConfigError, match="has 4 names; 'bias' puts 5 together"):
        made("bias", labelled("image"), things=4)
