"""Spliced clips: halves in order, captions in order, excluded pairs never."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmcontrast.data.shards import open_shards
from mmcontrast.data.source import Source, SourceConfig, line_order
from mmcontrast.data.transforms.splice import Splice, joined_wave, read_excluded
from mmcontrast.errors import ConfigError
from tests.data.test_loader import SPECS
from tests.fixtures import make_set


def test_halves_stand_in_order_with_a_fade() -> None:
    wave = joined_wave(np.full(3000, 0.5, np.float32), np.full(600, -0.5, np.float32), samples=2000)
    assert len(wave) == 2000
    assert (wave[:840] == 0.5).all() and abs(wave[999]) < 1e-6
    assert (wave[1000:1600] == -0.5).all() and (wave[1600:] == 0).all()


def test_excluded_pairs_are_never_joined_and_captions_follow_the_order(tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "sounds", columns=("audio", "text"), rows=24)
    (tmp_path / "pairs.json").write_text(json.dumps([["red", "blue"]]))
    splice = Splice(probability=1.0, field="thing", exclude=str(tmp_path / "pairs.json"))
    config = SourceConfig(manifest=manifest, splice=splice)
    specs = {name: SPECS[name] for name in ("audio", "text")}
    shards = open_shards(manifest)
    order = line_order(config, shards=shards, name="sounds", seed=0, block_rows=100, lanes=1)
    source = Source(config, shards=shards, name="sounds", seed=0, specs=specs, order=order)
    texts = [source.draw(position, cache=False).values["text"] for position in range(200)]
    joined = [text for text in texts if " then " in text]
    assert 50 < len(joined) < 200
    assert not {"a red then a blue", "a blue then a red"} & set(joined)
    assert {"a red then a green", "a green then a red"} <= set(joined)
    again = Source(config, shards=shards, name="sounds", seed=0, specs=specs, order=order)
    assert [again.draw(position, cache=True).values["text"] for position in range(200)] == texts


def test_a_missing_or_broken_list_of_pairs_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file of excluded pairs"):
        read_excluded(str(tmp_path / "nothing.json"))
    (tmp_path / "broken.json").write_text('{"a": 1}')
    with pytest.raises(ConfigError, match="not a JSON list of pairs"):
        read_excluded(str(tmp_path / "broken.json"))


def test_the_quickstart_never_splices_a_held_out_pair() -> None:
    from data_pipelines.embedded.instruments import held_out_pairs

    shipped = read_excluded("package:quickstart/held_out_pairs.json")
    assert shipped == {frozenset(pair) for pair in held_out_pairs()}


def test_clips_of_two_give_the_first_half_of_one_and_the_second_half_of_another() -> None:
    first = np.concatenate([np.full(1000, 0.5, np.float32), np.zeros(1000, np.float32)])
    second = np.concatenate([np.zeros(1000, np.float32), np.full(1000, -0.5, np.float32)])
    wave = joined_wave(first, second, samples=2000, second_half=True)
    assert (wave[:840] == 0.5).all() and (wave[1000:1840] == -0.5).all()
    splice = Splice(probability=1.0, field="first", second_field="second")
    assert splice.parts({"first": "oboe", "second": "gong"}) == ("oboe", "gong")
    assert splice.parts({"first": "oboe"}) is None
    assert Splice(probability=1.0, field="thing").parts({"thing": "oboe"}) == ("oboe", "oboe")
