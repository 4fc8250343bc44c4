"""Near things are found as plain loops find them, and a dropped row always has a partner that stays."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from data_pipelines.jobs.dedup import first_stays
from data_pipelines.near import cosine_pairs, hamming_pairs, lsh_bands, minhash_pairs, top_neighbours
from data_pipelines.rows import Row
from data_pipelines.signatures.audio_fingerprint import RATE, sub_fingerprints
from tests.data_pipelines.conftest import EMOJI, TRIMODAL, dropped_of, rows_of

Run = Callable[..., str]


def test_hamming_pairs_are_those_of_plain_loops() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 60, dtype=np.uint64)
    for place in range(40):  # most have a near one
        flips = rng.choice(64, rng.integers(1, 8), replace=False).astype(np.uint64)
        hashes = np.append(hashes, hashes[place] ^ np.bitwise_or.reduce(np.left_shift(np.uint64(1), flips)))
    for distance in (0, 3, 5):
        expected = {
            (first, second, bits)
            for second in range(len(hashes))
            for first in range(second)
            if (bits := int(hashes[first] ^ hashes[second]).bit_count()) <= distance
        }
        assert set(hamming_pairs(hashes, distance)) == expected
        assert distance == 0 or expected


def test_cosine_pairs_and_neighbours_are_those_of_plain_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_pipelines.near.BLOCK_ROWS", 7)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(30, 3)).astype(np.float32)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    z[4] = np.nan
    expected = {(i, j) for j in range(30) for i in range(j) if z[i] @ z[j] >= 0.9}
    found = list(cosine_pairs(z, 0.9))
    assert {(i, j) for i, j, _ in found} == expected and len(found) == len(expected) > 5
    scores, places = top_neighbours(z[:3], z[5:], 4)
    np.testing.assert_array_equal(places, np.argsort(-(z[:3] @ z[5:].T), axis=1)[:, :4])


def test_minhash_finds_alike_sets_and_never_others() -> None:
    words = [f"word{number}" for number in range(40)]
    sets = [set(words), set(words[:38]), set(words[20:]), {"other"}, set(), set(words)]
    pairs = {(i, j): s for i, j, s in minhash_pairs(sets, least=0.8, permutations=128, seed=1)}
    assert pairs == {(0, 1): 0.95, (0, 5): 1.0, (1, 5): 0.95}


def test_a_row_goes_only_if_a_partner_stays() -> None:
    chain = {1: [(0, "s", "")], 2: [(1, "s", "")], 3: [(2, "s", "")]}
    assert set(first_stays(chain, start=0)) == {1, 3}  # 2 is near 1 alone, and 1 went
    assert set(first_stays(chain, start=2)) == {2}  # rows before `start` are an evaluation set: they stay


def test_fingerprints_outlive_noise_gain_and_a_shift_and_tell_sounds_apart() -> None:
    rng = np.random.default_rng(0)
    waves = [np.convolve(rng.normal(size=3 * RATE), rng.normal(size=8), "same").astype(np.float32) for _ in range(2)]
    words = [sub_fingerprints(wave) for wave in waves]
    louder = sub_fingerprints(0.3 * waves[0] + 0.01 * rng.normal(size=len(waves[0])).astype(np.float32))
    same = np.bitwise_count(words[0] ^ louder).mean() / 32
    other = np.bitwise_count(words[0] ^ words[1]).mean() / 32
    assert same < 0.1 and 0.4 < other < 0.6
    assert len(sub_fingerprints(waves[0][:100])) == 0
    assert not sub_fingerprints(np.zeros(RATE, dtype=np.float32)).any()


@pytest.fixture
def copied(tmp_path: Path, data: Run) -> str:
    """A set with known copies: a smaller JPEG of a picture, a shifted and quieter FLAC of a sound, the same bytes."""
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = rows_of(TRIMODAL)
    row = next(row for row in rows if row.key.startswith("guitar"))
    other = next(row for row in rows if row.key.startswith("violin"))
    image = Image.open(io.BytesIO(row.members["webp"])).convert("RGB")
    wave, rate = soundfile.read(io.BytesIO(row.members["ogg"]), dtype="float32")
    files = {"a": (row.members["webp"], row.members["ogg"]), "b": (other.members["webp"], other.members["ogg"])}
    smaller, shifted = io.BytesIO(), io.BytesIO()
    image.resize((64, 64)).save(smaller, "JPEG", quality=80)
    soundfile.write(shifted, 0.5 * wave[rate // 10 :], rate, format="FLAC")
    files["c"] = (smaller.getvalue(), other.members["ogg"])
    files["d"] = (other.members["webp"], shifted.getvalue())
    files["e"] = files["a"]
    for key, (picture, sound) in files.items():
        (raw / f"{key}.webp").write_bytes(picture)
        (raw / f"{key}.ogg").write_bytes(sound)
        (raw / f"{key}.txt").write_text(f"A caption of some length for {key * 2}")
    data("run", "pack", f"out={tmp_path}/copied", "reader.type=folder", f"reader.folder={raw}", "rows_per_shard=2")
    return f"{tmp_path}/copied"


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("{type: exact}", {"e": "a"}),
        ("{type: exact, columns: [audio]}", {"c": "b", "e": "a"}),
        ("{type: image_hash, distance: 6}", {"c": "a", "d": "b", "e": "a"}),
        ("{type: audio_fingerprint}", {"c": "b", "d": "a", "e": "a"}),
        ("{type: caption_minhash, least: 0.7}", {"b": "a", "c": "a", "d": "a", "e": "a"}),
    ],
)
def test_every_signature_finds_its_copies(
    signature: str, expected: dict[str, str], copied: str, tmp_path: Path, data: Run
) -> None:
    data("run", "dedup", f"out={tmp_path}/out", f"source={copied}", f"signatures={{s: {signature}}}")
    dropped = {row["key"]: row["detail"].rsplit("/", 1)[-1] for row in dropped_of(tmp_path / "out")}
    assert dropped == expected
    assert [row.key for row in rows_of(tmp_path / "out")] == [key for key in "abcde" if key not in expected]


def test_rows_of_an_evaluation_set_leave_the_source(tmp_path: Path, data: Run) -> None:
    data("run", "split", f"out={tmp_path}/parts", f"source={EMOJI}", "parts={train: 1, test: 1}")
    out, test = f"out={tmp_path}/out", f"against=[{tmp_path}/parts/test]"
    data("run", "dedup", out, f"source={EMOJI}", test, "signatures={bytes: exact}", "--processes", 2)
    left = {row.key for row in rows_of(tmp_path / "out")}
    assert left == {row.key for row in rows_of(tmp_path / "parts" / "train")}
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert list(report["tables"]["Rows dropped"]) == ["bytes: repeats a row of test"]


def test_a_signature_of_a_column_that_no_set_has_is_a_mistake(tmp_path: Path, data: Run) -> None:
    said = data(
        "run", "dedup", f"out={tmp_path}/a", f"source={EMOJI}", "signatures={s: {type: audio_fingerprint}}", code=2
    )
    assert "signatures.s: 'emoji-unseen-concepts' has no column 'audio'" in said


def test_a_model_that_is_not_there_is_said(tmp_path: Path, data: Run) -> None:
    signatures = f"signatures={{s: {{type: embedding, model: {{run: {tmp_path}/none}}}}}}"
    said = data("run", "dedup", f"out={tmp_path}/a", f"source={EMOJI}", signatures, code=2)
    assert f"no run folder and no checkpoint at '{tmp_path}/none'" in said


def test_short_sounds_that_die_away_are_not_one_recording() -> None:
    """A click, a drum hit and a blip each fill a frame's length and then fade: their bits agree and prove nothing."""
    from data_pipelines.media import Look, encode_flac
    from data_pipelines.signatures import SIGNATURES
    from mmcontrast.data.manifest import ColumnSpec, Manifest

    rng, rate = np.random.default_rng(0), 16_000
    time = np.arange(2 * rate) / rate
    bursts = [rng.standard_normal(2 * rate) * np.exp(-time * fall) for fall in (15, 25, 40, 80)]
    bursts += [np.sin(2 * np.pi * pitch * time) * np.exp(-time * 20) for pitch in (440, 700, 1100)]
    manifest = Manifest(name="x", columns={"audio": ColumnSpec(modality="audio", extension="flac")}, shards=())
    looks = [
        Look(Row(str(place), {"flac": encode_flac(wave * 0.2, rate_hz=rate)}, "x.tar"), manifest)
        for place, wave in enumerate(bursts)
    ]
    signature = SIGNATURES.build(SIGNATURES.get("audio_fingerprint").Config())
    assert not list(signature.pairs([signature.sign(looks)]))


def test_minhash_misses_one_in_a_hundred_at_the_limit_at_most() -> None:
    rng = np.random.default_rng(0)
    sets = []
    for _ in range(200):  # two sets of 45 that share 40: similarity 0.8 exactly
        words = [str(word) for word in rng.integers(1 << 40, size=50)]
        sets += [set(words[:45]), set(words[:40]) | set(words[45:])]
    found = list(minhash_pairs(sets, least=0.8, permutations=128, seed=1))
    assert len(found) >= 194  # of 200; datasketch's own bands find 83
    for least in (0.5, 0.8, 0.95):
        bands, rows = lsh_bands(least, 128)
        assert bands * rows <= 128 and (1 - least**rows) ** bands <= 0.01


def test_rows_that_do_not_decode_go_with_their_reason(tmp_path: Path, data: Run) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for place, row in enumerate(rows_of(EMOJI)[:3]):
        content = row.members["webp"]
        (raw / f"{place}.webp").write_bytes(content[: len(content) // 2] if place == 1 else content)
    reader = ("reader.type=folder", f"reader.folder={raw}", "reader.captions=name", "check=none")
    data("run", "pack", f"out={tmp_path}/set", *reader)
    look = "signatures={look: {type: image_hash}}"
    data("run", "dedup", f"out={tmp_path}/clean", f"source={tmp_path}/set", look)
    assert [row.key for row in rows_of(tmp_path / "clean")] == ["0", "2"]
    assert [(row["key"], row["reason"]) for row in dropped_of(tmp_path / "clean")] == [("1", "does not decode")]
