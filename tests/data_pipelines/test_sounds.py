"""The shipped sounds: what is held out stays out, every row says where it comes from, every clip plays."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from data_pipelines.embedded.effects import Effect, cc0_files, split
from data_pipelines.embedded.families import fold
from data_pipelines.embedded.instruments import an, held_out_pairs, plan_singles, plan_training_sequences
from data_pipelines.embedded.midi_render import FAMILY_OF, INSTRUMENTS
from data_pipelines.embedded.sound_files import RATE, encode_opus, with_serial
from data_pipelines.embedded.trimodal import JOIN
from mmcontrast.data.decode import decode_audio, decode_image
from mmcontrast.data.manifest import file_sha256
from mmcontrast.data.shards import ShardSet

SETS = (
    "instruments-train", "instruments-unseen-font", "sequences-seen-font", "sequences-unseen-font",
    "effects-train", "effects-test", "trimodal-train", "trimodal-test",
)  # fmt: skip


def infos(name: str) -> list[dict]:
    shards = ShardSet(f"package:quickstart/{name}")
    return [shards[row].info() for row in range(len(shards))]


@pytest.mark.parametrize("name", SETS)
def test_the_manifest_is_true_and_every_row_names_its_licence_and_source(name: str) -> None:
    shards = ShardSet(f"package:quickstart/{name}")
    for shard in shards.manifest.shards:
        assert file_sha256(shards.folder / shard.path) == shard.sha256
    rows = infos(name)
    assert len(rows) == shards.manifest.rows
    assert all(row["licence"] and row["source"] and row["captions"][0] == row["caption"] for row in rows)


@pytest.mark.parametrize("name", SETS)
def test_clips_are_two_seconds_that_can_be_heard(name: str) -> None:
    shards = ShardSet(f"package:quickstart/{name}")
    for row in range(0, len(shards), max(1, len(shards) // 25)):
        raw = shards[row]
        wave = decode_audio(raw.members["ogg"], key=raw.key, sample_rate_hz=RATE)
        assert len(wave) == 2 * RATE and np.isfinite(wave).all()
        assert float(np.sqrt(np.mean(wave**2))) > 0.0005, raw.key
        if "webp" in raw.members:
            assert min(decode_image(raw.members["webp"], key=raw.key).size) >= 64


def test_held_out_pairs_never_train_and_stand_in_both_orders() -> None:
    trained = {row["pair"] for row in infos("instruments-train") if row["kind"] == "sequence"}
    for name in ("sequences-seen-font", "sequences-unseen-font"):
        rows = infos(name)
        pairs = Counter(row["pair"] for row in rows)
        assert not trained & set(pairs)
        assert sum(count == 2 for count in pairs.values()) > 0.9 * len(pairs)
        assert len({row["caption"] for row in rows}) == len(rows)
        assert all(FAMILY_OF[row["first"]] != FAMILY_OF[row["second"]] for row in rows)


def test_fonts_are_apart() -> None:
    assert {row["font"] for row in infos("instruments-train")} == {"fluid"}
    assert {row["font"] for row in infos("instruments-unseen-font")} == {"musescore"}
    assert len({row["instrument"] for row in infos("instruments-unseen-font")}) == 128


def test_test_effects_are_recordings_that_never_train_of_things_that_do() -> None:
    train, test = infos("effects-train"), infos("effects-test")
    assert not {row["name"] for row in train} & {row["name"] for row in test}
    assert {row["caption"] for row in test} <= {row["caption"] for row in train}


def test_joined_rows_use_no_held_out_drawing_and_no_training_sound_in_the_test() -> None:
    shards = ShardSet("package:quickstart/emoji-train")
    families = {row["concept"]: row["family"] for row in (shards[n].info() for n in range(len(shards)))}
    train, test = infos("trimodal-train"), infos("trimodal-test")
    for row in [*train, *test]:
        assert fold(families[row["concept"]]) > 1 and JOIN[row["thing"]]["concept"] == row["concept"]
    assert {row["style"] for row in test} == {"fluent-emoji-flat"}
    assert "fluent-emoji-flat" not in {row["style"] for row in train}
    held_out = {row["name"] for row in infos("effects-test")}
    assert not held_out & {row["sound"] for row in train}
    assert all("musescore" in row["source"] or row["sound"] in held_out for row in test)


def test_plans_are_the_same_every_time_and_balanced() -> None:
    assert len(INSTRUMENTS) == len(set(INSTRUMENTS)) == 128
    assert held_out_pairs() == held_out_pairs() and len(held_out_pairs()) == 400
    singles = list(plan_singles(5, salt="x"))
    assert singles == list(plan_singles(5, salt="x"))
    assert set(Counter(clip.pattern for clip in singles).values()) == {128}
    sequences = list(plan_training_sequences(300))
    held_out = {"+".join(sorted(pair)) for pair in held_out_pairs()}
    assert len(set(sequences)) == 300 and not held_out & {clip.pair for clip in sequences}
    assert an("oboe") == "an oboe" and an("flute") == "a flute"


def test_the_same_sound_gives_the_same_bytes() -> None:
    wave = 0.3 * np.sin(np.arange(RATE) / 20).astype(np.float32)
    first, again = encode_opus(wave), encode_opus(wave)
    assert first == again
    assert with_serial(first, serial=1) == first and with_serial(first, serial=2) != first
    decoded = decode_audio(with_serial(first, serial=2), key="x", sample_rate_hz=RATE)
    assert len(decoded) == RATE  # the page checksums hold, or libsndfile would refuse


def test_only_files_with_a_cc0_stanza_are_free() -> None:
    text = (
        "Files: *\nLicense: MIT\n\nFiles: etc/samples/a.flac\nCopyright: x\nLicense: CC0\n\n"
        "Files: etc/samples/b.flac\nLicense: CC-BY-3.0\n"
    )
    assert cc0_files(text) == {"a"}


def test_the_last_of_three_recordings_is_held_out() -> None:
    def effect(name: str, caption: str) -> Effect:
        return Effect(name=name, caption=caption, wave=np.zeros(1), licence="CC0-1.0", source="x")

    effects = [effect("a1", "a"), effect("a2", "a"), effect("a3", "a"), effect("b1", "b"), effect("b2", "b")]
    train, test = split(effects)
    assert [each.name for each in test] == ["a3"] and len(train) == 4
