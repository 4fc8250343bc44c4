"""An imported CLAP meets whatever is called a sound: embedded for what it is, or left out by name and cause."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import soundfile
import torch

import mmcontrast
from data_pipelines.pack import Sample, write_shards
from mmcontrast.cli import main
from mmcontrast.config import to_tree
from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.data.quarantine import read_log
from mmcontrast.evaluate.command import PARTIAL
from mmcontrast.export.embedded import read_embeddings
from mmcontrast.exported import read_exported
from mmcontrast.train import train
from tests.importers.conftest import Make
from tests.small_run import run_of

RATE = 8000
MEBIBYTE = 1 << 20
# A file's name -> why it is left out.
CAUSES = {
    "barely_flac": "audio_decode",
    "empty_file": "audio_decode",
    "forged_header": "audio_empty",
    "nan": "audio_not_finite",
    "no_samples": "audio_empty",
    "text": "audio_decode",
}
HEARD = ("clipped", "eight_bits", "high_rate", "plain", "seven_channels", "silence", "ten_hours")
CUT = ("cut_flac", "cut_mp3", "cut_ogg")  # heard up to there, or refused, as libsndfile's version has it


def sine(seconds: float = 1.0, *, rate_hz: int = RATE, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)


def encoded(wave: np.ndarray, *, rate_hz: int = RATE, **options: str) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, wave, rate_hz, **({"format": "WAV", "subtype": "PCM_16"} | options))
    return stream.getvalue()


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def ten_hours() -> bytes:
    """A tone and then silence, 36,000 seconds at 1 kHz."""
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", 1000, 1, format="FLAC", subtype="PCM_16") as sound:
        sound.write(sine(10, rate_hz=1000))
        for _ in range(36):
            sound.write(np.zeros(1_000_000 - 10_000 // 36, np.int16))
    return stream.getvalue()


def sounds() -> dict[str, bytes]:
    """Every file."""
    long, seven = sine(3), np.zeros((RATE, 7))
    seven[:, 3] = 7 * sine(level=0.14)
    header = bytearray(encoded(np.zeros(0)))
    header[4:8] = header[40:44] = (0xFFFFFFF0).to_bytes(4, "little")  # it promises four gigabytes
    return {
        "clipped": encoded(np.clip(4 * sine(), -1, 1)),
        "barely_flac": encoded(long, format="FLAC")[:60],
        "cut_flac": half(encoded(long, format="FLAC")),
        "cut_mp3": half(encoded(long, format="MP3", subtype="MPEG_LAYER_III")),
        "cut_ogg": half(encoded(long, format="OGG", subtype="VORBIS")),
        "eight_bits": encoded(sine(), subtype="PCM_U8"),
        "empty_file": b"",
        "forged_header": bytes(header),
        "high_rate": encoded(sine(rate_hz=96_000), rate_hz=96_000),
        "nan": encoded(np.where(np.arange(RATE) == 99, np.nan, sine()), subtype="FLOAT"),
        "no_samples": encoded(np.zeros(0)),
        "plain": encoded(sine()),
        "seven_channels": encoded(seven),
        "silence": encoded(np.zeros(RATE)),
        "ten_hours": ten_hours(),
        "text": b"a caption, not a sound\n" * 50,
    }


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bad") / "bad"
    columns = {
        "audio": ColumnSpec(modality="audio", extension="wav"),
        "text": ColumnSpec(modality="text", extension="json", field="caption"),
    }
    samples = [
        Sample(key=name, members={"wav": content}, info={"caption": f"the sound {name}", "licence": "CC0-1.0"})
        for name, content in sounds().items()
    ]
    write_shards(samples, folder=folder, name="bad", columns=columns, made_by={"job": "tests"}, rows_per_shard=50)
    return str(folder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:sounds are longer")
def test_embed_hears_them_or_names_them(imported: Make, manifest: str, tmp_path: Path) -> None:
    _, done = imported("hf-clap")
    assert main(["embed", manifest, "--model", str(done.folder), "--out", str(tmp_path / "out")]) == 0
    table = pyarrow.parquet.read_table(tmp_path / "out/part-00000.parquet").to_pydict()
    found = read_embeddings(tmp_path / "out")
    vectors, present = found["audio"]
    heard = {key for key, there in zip(found["keys"], present.tolist(), strict=True) if there}
    refused = {key for key, error in zip(found["keys"], table["error"], strict=True) if error}
    assert not heard & refused and heard | refused == {*CAUSES, *HEARD, *CUT}
    assert heard - set(CUT) == set(HEARD) and refused - set(CUT) == set(CAUSES)
    assert all(error.startswith("audio: ") for error in table["error"] if error)
    rows = dict(zip(found["keys"], vectors.float(), strict=True))
    for name in heard:
        assert torch.isfinite(rows[name]).all() and rows[name].norm() == pytest.approx(1, abs=1e-3)
    # What differs from the plain one by roundings alone lies next to it; silence does not.
    alike = {name: float(rows["plain"] @ rows[name]) for name in HEARD}
    assert min(alike[name] for name in ("eight_bits", "high_rate")) > 0.99 > alike["silence"]
    encoder = mmcontrast.load(done.folder)
    given = encoder.encode(audio=[np.clip(4 * sine(), -1, 1).astype(np.float32), np.zeros(RATE, np.float32)])
    assert (given[0] - rows["clipped"]).abs().max() < 2e-3 and (given[1] - rows["silence"]).abs().max() < 2e-3


@pytest.mark.filterwarnings("ignore:sounds are longer")
def test_of_ten_hours_only_the_window_is_in_memory(imported: Make, tmp_path: Path) -> None:
    _, done = imported("hf-clap")
    (tmp_path / "long.flac").write_bytes(ten_hours())
    encoder = mmcontrast.load(done.folder)
    encoder.encode(audio=tmp_path / "long.flac")
    tracemalloc.start()
    try:
        encoder.encode(audio=tmp_path / "long.flac")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 * MEBIBYTE  # all of it would be 137 MiB, and 1.1 GiB at the tower's rate


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:sounds are longer")
def test_evaluation_counts_and_names_what_it_left_out(
    imported: Make, manifest: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, done = imported("hf-clap")
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"evals: {{sounds: {{type: retrieval, source: {manifest}, target: audio}}}}", encoding="utf-8")
    command = ["eval", "run", str(done.folder), "--suite", str(suite), "--out", str(tmp_path / "eval")]
    assert main(command) == PARTIAL and main([*command[:-1], str(tmp_path / "again"), "--allow-missing"]) == 0
    assert "results.json" in capsys.readouterr().err
    found = json.loads((tmp_path / "eval/results.json").read_text(encoding="utf-8"))["evaluators"]["sounds"]
    named = {line.partition(": ")[0] for line in found["missing"]}
    assert named - set(CUT) == set(CAUSES) and found["num_missing"] == len(named)
    assert found["num_rows"] == len(CAUSES) + len(HEARD) + len(CUT) - len(named)


def test_training_replaces_and_counts_them(imported: Make, manifest: str, tmp_path: Path) -> None:
    _, done = imported("hf-clap")
    config = read_exported(done.folder).config
    model = {
        "dim": config.dim,
        "towers": to_tree(config.towers),
        "heads": to_tree(config.heads),
        "training": {name: {"weights": str(done.folder)} for name in ("audio", "text")},
    }
    data = {
        "batch_rows": 15,
        "workers": 0,
        "sources": {"bad": {"manifest": manifest}},
        "quarantine": {"grace_rows": 1000},
    }
    objectives = {"main": {"type": "infonce", "pairs": [["audio", "text"]]}}
    train(run_of({"pictures": "", "sounds": ""}, tmp_path / "run", steps=2, model=model, data=data,
                 objectives=objectives))  # fmt: skip
    seen = {row.key: row.cause for row in read_log(tmp_path / "run/quarantine.jsonl")}
    assert {name: cause for name, cause in seen.items() if name not in CUT} == CAUSES
    metrics = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert np.isfinite(metrics[-1]["loss"])
    counted = Counter(CAUSES.values())
    assert all(metrics[-1][f"quarantined/bad/{cause}"] >= count for cause, count in counted.items())
