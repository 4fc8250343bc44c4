"""Spliced clips: halves in order, captions in order, excluded pairs never."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcontrast.data.row_order import line_order
from mmcontrast.data.shards import open_shards
from mmcontrast.data.source import Source, SourceConfig
from mmcontrast.data.transforms.splice import Splice, joined, mixed, read_excluded, spliced
from mmcontrast.errors import ConfigError
from tests.data.test_loader import SPECS
from tests.fixtures import make_set


def test_halves_stand_in_order_with_a_fade() -> None:
    wave = joined([np.full(3000, 0.5, np.float32), np.full(600, -0.5, np.float32)], samples=2000)
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
    wave = joined([first, second], samples=2000, second_half=True)
    assert (wave[:840] == 0.5).all() and (wave[1000:1840] == -0.5).all()
    splice = Splice(probability=1.0, field="first", second_field="second")
    assert splice.parts({"first": "oboe", "second": "gong"}) == ("oboe", "gong")
    assert splice.parts({"first": "oboe"}) is None
    assert Splice(probability=1.0, field="thing").parts({"thing": "oboe"}) == ("oboe", "oboe")


def flat(level: float) -> np.ndarray:
    return np.full(3000, level, np.float32)


def told(caption: str, wave: np.ndarray) -> bool:
    """Whether a caption of a (0.1), b (0.2) and c (0.4) says what is heard."""
    levels = {"a": 0.1, "b": 0.2, "c": 0.4}
    names = [word for word in caption.split() if word in levels]
    if " while " in caption:
        return bool(np.allclose(wave[:100], sum(levels[name] for name in names)))
    names = names[::-1] if " after " in caption else names
    heard = [wave[3000 * place // len(names) + 100] for place in range(len(names))]
    return bool(np.allclose(heard, [levels[name] for name in names]))


def test_captions_and_sounds_of_either_order_say_the_same_and_differ() -> None:
    splice = Splice(
        probability=1.0,
        field="thing",
        articles=False,
        overlap=0.3,
        more_templates=("{second} after {first}", "{first} before {second}"),
    )
    seen, meanings = set(), {}
    for seed in range(60):
        names, waves = (
            (["a", "b"], [flat(0.1), flat(0.2)]) if seed % 2 else (["a", "b", "c"], [flat(0.1), flat(0.2), flat(0.4)])
        )
        found = spliced(splice, names, waves, samples=3000, rng=np.random.default_rng(seed))
        caption, other = found.cells["text"].texts[0], found.other["text"].texts[0]
        assert told(caption, found.cells["audio"]) and told(other, found.other["audio"])
        assert not np.allclose(found.cells["audio"], found.other["audio"])
        seen |= {caption, other}
        meanings[caption] = found.meaning
    assert {"a then b", "b after a", "a before b", "a while b", "b then a", "a then b then c"} <= seen
    assert len({meanings[caption] for caption in ("a then b", "b after a", "a before b")}) == 1
    assert len({meanings["a while b"], meanings["a then b"]}) == 2


def test_the_other_one_may_be_the_first_clip_alone() -> None:
    splice = Splice(probability=1.0, field="thing", other="part", template="{first} and {second}", overlap=0.5)
    for seed in range(8):
        found = spliced(splice, ["owl", "bell"], [flat(0.1), flat(0.2)], samples=3000, rng=np.random.default_rng(seed))
        assert found.other["text"].texts == ["an owl"] and (found.other["audio"] == np.float32(0.1)).all()


def test_loud_mixtures_stay_within_full_scale() -> None:
    assert mixed([flat(0.9), flat(0.8)], samples=4000).max() == 1
    assert mixed([flat(0.2), flat(0.1)], samples=4000)[3500] == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"second_field": "second", "overlap": 0.5}, "leave out overlap"),
        ({"template": "{first} then"}, "should hold each of {first}, {second} once"),
        ({"three_templates": ("{first} {second}",)}, "{third}"),
    ],
)
def test_templates_and_fields_that_do_not_fit_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Splice(probability=1.0, field="thing", **fields)
