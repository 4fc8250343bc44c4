"""What every job keeps: the same bytes on any number of processes, after a kill, in an array; every row explained."""

from __future__ import annotations

import io
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from data_pipelines.job import JOBS as KNOWN
from data_pipelines.jobs.split import choose
from data_pipelines.settings_page import EXAMPLES
from data_pipelines.workspace import Done, Workspace
from mmcontrast.config import apply_overrides, parse
from mmcontrast.data.manifest import read_manifest
from tests.data_pipelines.conftest import EMOJI, TRIMODAL, dropped_of, result_digests, rows_of

Run = Callable[..., str]


def raw_folder(folder: Path, source: str, *, rows: int | None = None) -> Path:
    """Unpack a shipped set into loose files: media and a .txt of captions."""
    folder.mkdir()
    for row in rows_of(source)[:rows]:
        for extension, content in row.members.items():
            if extension != "json":
                (folder / f"{row.key}.{extension}").write_bytes(content)
        (folder / f"{row.key}.txt").write_text("\n".join(row.info()["captions"]), encoding="utf-8")
    return folder


def test_a_set_goes_round_through_every_shard_job(tmp_path: Path, data: Run) -> None:
    raw = raw_folder(tmp_path / "raw", TRIMODAL)
    data("run", "pack", f"out={tmp_path}/packed", "reader.type=folder", f"reader.folder={raw}", "rows_per_shard=20")
    first = rows_of(tmp_path / "packed")
    shipped = {row.key: row for row in rows_of(TRIMODAL)}
    assert len(first) == len(shipped) == 95
    for row in first:
        assert row.members["webp"] == shipped[row.key].members["webp"]
        assert row.members["ogg"] == shipped[row.key].members["ogg"]
        assert row.info()["captions"] == shipped[row.key].info()["captions"]
    filters = "filters={words: {type: caption_length, min_words: 3}, loud: {type: silence, most: 0.99}}"
    data("run", "filter", f"out={tmp_path}/filtered", f"source={tmp_path}/packed", filters)
    kept = rows_of(tmp_path / "filtered")
    dropped = dropped_of(tmp_path / "filtered")
    assert len(kept) + len(dropped) == 95 and kept and dropped
    assert all(len(text.split()) >= 3 for row in kept for text in row.info()["captions"])
    data("run", "split", f"out={tmp_path}/parts", f"source={tmp_path}/filtered", "parts={train: 3, test: 1}")
    parts = [f"{tmp_path}/parts/train", f"{tmp_path}/parts/test"]
    data("run", "merge", f"out={tmp_path}/merged", f"sources=[{','.join(parts)}]", "rows_per_shard=30")
    merged = rows_of(tmp_path / "merged")
    assert {row.key: row.members for row in merged} == {row.key: row.members for row in kept}
    assert [shard.rows for shard in read_manifest(tmp_path / "merged").shards[:-1]] == [30] * ((len(kept) - 1) // 30)
    assert "nothing wrong found" in data("run", "verify", f"out={tmp_path}/check", f"source={tmp_path}/merged")
    data("run", "inspect", f"out={tmp_path}/page", f"source={tmp_path}/merged", "samples=5")
    page = (tmp_path / "page" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp;base64,") == page.count("data:audio/ogg;base64,") == 5


FILTER = "filters={words: {type: caption_length, min_words: 2}}"
JOBS = {
    "merge": [f"sources=[{EMOJI}]", "rows_per_shard=40"],
    "split": [f"source={EMOJI}", "parts={train: 3, test: 1}", "by=family"],
    "filter": [f"source={EMOJI}", FILTER],
    "verify": [f"source={EMOJI}"],
}


@pytest.mark.parametrize("job", JOBS)
def test_three_processes_write_the_bytes_of_one(job: str, tmp_path: Path, data: Run) -> None:
    data("run", job, f"out={tmp_path}/a/set", *JOBS[job])
    data("run", job, f"out={tmp_path}/b/set", *JOBS[job], "--processes", 3)
    digests = result_digests(tmp_path / "a" / "set")
    assert digests and digests == result_digests(tmp_path / "b" / "set")


def test_array_members_write_the_bytes_of_one_process(tmp_path: Path, data: Run) -> None:
    command = ["run", "filter", f"source={tmp_path}/cut", FILTER]
    data("run", "merge", f"out={tmp_path}/cut", f"sources=[{EMOJI}]", "rows_per_shard=40")
    data(*command, f"out={tmp_path}/a/set")
    # Two steps before the manifest: member 1 comes first and must wait for member 0 after each.
    said = data(*command, f"out={tmp_path}/b/set", "--task", "1/2", code=75)
    assert "another share's and not done yet" in said
    assert "tasks are another share's" in data(*command, f"out={tmp_path}/b/set", "--task", "0/2", code=75)
    data(*command, f"out={tmp_path}/b/set", "--task", "1/2")
    data(*command, f"out={tmp_path}/b/set", "--task", "0/2")
    assert result_digests(tmp_path / "a" / "set") == result_digests(tmp_path / "b" / "set")
    assert "finished" in data("status", tmp_path / "b" / "set")


def test_a_killed_job_resumes_to_the_same_bytes(tmp_path: Path, data: Run) -> None:
    arguments = ["run", "merge", f"sources=[{TRIMODAL}]", "rows_per_shard=3"]
    data(*arguments, f"out={tmp_path}/whole/set")
    folder = tmp_path / "killed" / "set"
    command = [sys.executable, "-m", "data_pipelines", *arguments, f"out={folder}", "--processes", "2"]
    kills = 0
    for least in (3, 12):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while len(list(folder.glob("job/write/*.done"))) < least and process.poll() is None:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 2, "both runs were killed before they were done"
    assert not (folder / "manifest.json").exists()
    said = data(*arguments, f"out={folder}")
    assert "step write: 32 tasks, 0 done before" not in said and "step write: 32 tasks, " in said
    assert result_digests(tmp_path / "whole" / "set") == result_digests(folder)


def test_a_lost_output_is_made_again(tmp_path: Path, data: Run) -> None:
    arguments = ["run", "merge", f"out={tmp_path}/set", f"sources=[{EMOJI}]", "rows_per_shard=40"]
    data(*arguments)
    digests = result_digests(tmp_path / "set")
    (tmp_path / "set" / "set-000001.tar").unlink()
    (tmp_path / "set" / "set-000002.tar").write_bytes(b"cut")
    data(*arguments)
    assert digests == result_digests(tmp_path / "set")


def test_other_settings_or_inputs_need_another_folder(tmp_path: Path, data: Run) -> None:
    arguments = ["run", "merge", f"out={tmp_path}/set", f"sources=[{EMOJI}]"]
    data(*arguments)
    said = data(*arguments, "rows_per_shard=7", code=2)
    assert "holds a job with another config.rows_per_shard" in said
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    assert "files that no job made" in data("run", "merge", f"out={tmp_path}/full", f"sources=[{EMOJI}]", code=2)


def test_settings_can_be_corrected_until_something_is_done(tmp_path: Path, data: Run) -> None:
    (tmp_path / "t.csv").write_text("title\nsea\n")
    arguments = ["run", "pack", f"out={tmp_path}/set", "reader.type=table", f"reader.file={tmp_path}/t.csv"]
    assert "has no field 'text'" in data(*arguments, "reader.captions=[text]", code=2)
    data(*arguments, "reader.captions=[title]")
    assert [row.info()["captions"] for row in rows_of(tmp_path / "set")] == [["sea"]]
    assert "another config.reader.captions" in data(*arguments, "reader.captions=[text]", code=2)


def test_a_slurm_array_says_its_members_shares(tmp_path: Path, data: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def member(out: str, number: int, low: int, high: int, count: int, code: int = 0) -> str:
        for name, value in {"ID": number, "MIN": low, "MAX": high, "COUNT": count}.items():
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
        arguments = [f"out={tmp_path}/{out}", f"sources=[{EMOJI}]", "rows_per_shard=60", "--task", "slurm"]
        return data("run", "merge", *arguments, code=code)

    assert "another share's" in member("set", 1, 1, 3, 3, code=75)
    for number in (3, 2):
        member("set", number, 1, 3, 3)
    member("set", 1, 1, 3, 3)
    data("run", "merge", f"out={tmp_path}/one/set", f"sources=[{EMOJI}]", "rows_per_shard=60")
    assert result_digests(tmp_path / "set") == result_digests(tmp_path / "one/set")
    assert "an array of 3 from 0 to 8 has gaps" in member("odd", 4, 0, 8, 3, code=2)
    monkeypatch.delenv("SLURM_ARRAY_TASK_COUNT")
    said = data("run", "merge", f"out={tmp_path}/x", f"sources=[{EMOJI}]", "--task", "slurm", code=2)
    assert "SLURM_ARRAY_TASK_COUNT is not set" in said


def test_a_full_disk_is_said_and_the_job_goes_on(tmp_path: Path, data: Run) -> None:
    arguments = ["run", "merge", f"out={tmp_path}/set", f"sources=[{EMOJI}]", "rows_per_shard=100"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # EFBIG, as a quota would give
    try:
        said = data(*arguments, code=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in said and "the same command goes on" in said
    data(*arguments)
    data("run", "merge", f"out={tmp_path}/one/set", f"sources=[{EMOJI}]", "rows_per_shard=100")
    assert result_digests(tmp_path / "set") == result_digests(tmp_path / "one/set")


def test_a_package_that_is_not_installed_is_said(tmp_path: Path, data: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    reader = json.dumps({"type": "table", "file": str(tmp_path / "t.parquet"), "captions": ["a"]})
    said = data("run", "pack", f"out={tmp_path}/set", f"reader={reader}", code=2)
    assert "needs the package pyarrow: pip install 'mmcontrast[pipelines]'" in said


def test_a_log_says_how_far_a_step_is(tmp_path: Path, data: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_pipelines.runner.LOG_SECONDS", 0.0)
    said = data("run", "merge", f"out={tmp_path}/set", f"sources=[{EMOJI}]", "rows_per_shard=100")
    assert "step write: 1 of 4 tasks, " in said and " s left" in said


def test_members_that_start_together_find_one_job(tmp_path: Path) -> None:
    identity = {"job": "merge", "config": {"sources": ["x" * 2000]}, "inputs": {}}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: Workspace(tmp_path / "set").claim(identity), range(200)))
    assert [path.name for path in (tmp_path / "set/job").iterdir()] == ["job.json"]


def test_one_share_is_held_by_one_process(tmp_path: Path, data: Run) -> None:
    workspace = Workspace(tmp_path / "set")
    arguments = ["run", "merge", f"out={tmp_path}/set", f"sources=[{EMOJI}]"]
    data(*arguments)
    with workspace.lock("0-of-1"):
        assert "another process is working on share 0-of-1" in data(*arguments, code=2)


def test_a_marker_without_its_file_is_not_done(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    path = workspace.write_json(tmp_path / "result.json", [1, 2])
    workspace.mark("step", 3, Done(files=(path,), counts={"rows": 2}), seconds=1.0)
    assert workspace.is_done("step", 3) and not workspace.is_done("step", 4)
    with pytest.raises(RuntimeError), workspace.writing(path) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert json.loads(path.read_text()) == [1, 2]
    path.write_text("[]")
    assert not workspace.is_done("step", 3)


def test_every_bad_item_is_named(tmp_path: Path, data: Run) -> None:
    raw = raw_folder(tmp_path / "raw", TRIMODAL, rows=6)
    keys = sorted({path.stem for path in raw.iterdir()})
    (raw / f"{keys[0]}.webp").write_bytes(b"<html>not found</html>")
    (raw / f"{keys[1]}.ogg").write_bytes(b"")
    (raw / f"{keys[2]}.txt").write_text("  \n \n")
    (raw / f"{keys[3]}.txt").write_bytes(b"caf\xe9")
    (raw / f"{keys[4]}.ogg").unlink()
    data("run", "pack", f"out={tmp_path}/set", "reader.type=folder", f"reader.folder={raw}")
    assert [row.key for row in rows_of(tmp_path / "set")] == [keys[5]]
    reasons = {row["key"]: row["reason"] for row in dropped_of(tmp_path / "set")}
    assert reasons == {
        keys[0]: "image does not decode",
        keys[1]: "audio file is missing or not readable",
        keys[2]: "no text",
        keys[3]: "text is missing or not readable",
        keys[4]: "no audio",
    }
    report = json.loads((tmp_path / "set" / "report.json").read_text())
    assert report["counts"] == {"items": 6, "rows": 1, "rows dropped": 5}


def test_verify_names_what_is_wrong_with_a_shard_and_with_a_row(tmp_path: Path, data: Run) -> None:
    set_folder = tmp_path / "set"
    data("run", "merge", f"out={set_folder}", f"sources=[{EMOJI}]", "rows_per_shard=40")
    paths = sorted(set_folder.glob("*.tar"))
    content = bytearray(paths[0].read_bytes())
    content[1000] ^= 1
    paths[0].write_bytes(content)
    paths[1].write_bytes(paths[1].read_bytes()[:-512])
    paths[2].unlink()
    said = data("run", "verify", f"out={tmp_path}/check", f"source={set_folder}", code=1)
    bad = [json.loads(line) for line in (tmp_path / "check" / "bad.jsonl").read_text().splitlines()]
    assert [(row["shard"], row["reason"]) for row in bad] == [
        (paths[0].name, "shard has another sha256"),
        (paths[1].name, "shard has another size"),
        (paths[2].name, "shard is missing"),
    ]
    assert "shard is missing" in said
    assert "is not the one that its manifest names" in data(
        "run", "filter", f"out={tmp_path}/f", f"source={set_folder}", FILTER, code=2
    )
    raw = raw_folder(tmp_path / "raw", EMOJI, rows=3)
    first = sorted(raw.glob("*.webp"))[0]
    first.write_bytes(b"not a picture")
    folder = f"reader.folder={raw}"
    data("run", "pack", f"out={tmp_path}/unchecked", "reader.type=folder", folder, "check=none")
    data("run", "verify", f"out={tmp_path}/check2", f"source={tmp_path}/unchecked", code=1)
    (row,) = [json.loads(line) for line in (tmp_path / "check2" / "bad.jsonl").read_text().splitlines()]
    assert (row["key"], row["reason"]) == (first.stem, "image does not decode")


def test_a_repaired_shard_is_verified_again(tmp_path: Path, data: Run) -> None:
    data("run", "merge", f"out={tmp_path}/set", f"sources=[{EMOJI}]", "rows_per_shard=100")
    path = tmp_path / "set" / "set-000000.tar"
    shutil.move(path, tmp_path / "away.tar")
    data("run", "verify", f"out={tmp_path}/check", f"source={tmp_path}/set", code=1)
    shutil.move(tmp_path / "away.tar", path)
    said = data("run", "verify", f"out={tmp_path}/check", f"source={tmp_path}/set", code=2)
    assert "another inputs.shard files" in said


def test_pack_stores_smaller_pictures_and_resampled_sounds(tmp_path: Path, data: Run) -> None:
    raw = raw_folder(tmp_path / "raw", TRIMODAL, rows=2)
    arguments = ["reader.type=folder", f"reader.folder={raw}", "shorter_side=32", "sample_rate_hz=8000"]
    data("run", "pack", f"out={tmp_path}/set", *arguments)
    for row in rows_of(tmp_path / "set"):
        assert Image.open(io.BytesIO(row.members["jpg"])).size == (32, 32)
        wave, rate = soundfile.read(io.BytesIO(row.members["flac"]))
        assert rate == 8000 and len(wave) == 16000 and np.abs(wave).max() > 0


def test_split_keeps_groups_together_and_shares_close_to_weights(tmp_path: Path, data: Run) -> None:
    data("run", "split", f"out={tmp_path}/set", f"source={EMOJI}", "parts={train: 7, test: 3}", "by=family")
    families = {part: {row.info()["family"] for row in rows_of(tmp_path / "set" / part)} for part in ("train", "test")}
    assert families["train"] and families["test"] and not families["train"] & families["test"]
    chosen = [choose(f"group {number}", {"train": 7.0, "test": 3.0}, salt="") for number in range(4000)]
    assert abs(chosen.count("test") / 4000 - 0.3) < 0.03  # four standard deviations
    said = data("run", "split", f"out={tmp_path}/b", f"source={EMOJI}", "parts={a: 1}", "by=colour", code=2)
    assert "has no field 'colour'" in said


def test_merge_names_repeated_keys_and_columns_that_do_not_fit(tmp_path: Path, data: Run) -> None:
    said = data("run", "merge", f"out={tmp_path}/set", f"sources=[{EMOJI}, {EMOJI}]", code=2)
    assert "two rows have the key" in said
    raw = raw_folder(tmp_path / "raw", EMOJI, rows=2)
    for path in raw.glob("*.webp"):
        path.rename(path.with_suffix(".png"))
    data("run", "pack", f"out={tmp_path}/png", "reader.type=folder", f"reader.folder={raw}")
    data("run", "merge", f"out={tmp_path}/two", f"sources=[{EMOJI}, {tmp_path}/png]", "prefix_keys=true")
    assert read_manifest(tmp_path / "two").columns["image"].extension == "webp;png"
    data("run", "verify", f"out={tmp_path}/check", f"source={tmp_path}/two")
    (tmp_path / "t.csv").write_text("a\nx\n")
    reader = json.dumps({"type": "table", "file": str(tmp_path / "t.csv"), "captions": ["a"]})
    data("run", "pack", f"out={tmp_path}/text", f"reader={reader}")
    tree = json.loads((tmp_path / "text/manifest.json").read_text())
    tree["columns"]["text"]["field"] = "other"
    (tmp_path / "text/manifest.json").write_text(json.dumps(tree))
    said = data("run", "merge", f"out={tmp_path}/odd", f"sources=[{EMOJI}, {tmp_path}/text]", code=2)
    assert "column 'text' is .json field 'other'" in said


def test_lists_say_what_can_be_named(data: Run) -> None:
    assert {"pack", "filter", "merge", "split", "verify", "inspect"} <= {
        line.split()[0] for line in data("list").splitlines()
    }
    assert "rows_per_shard = 1000  # items a shard" in data("list", "pack")
    said = data("list", "filter")
    assert "filters: one of" in said and "  silence " in said and "mmcontrast-data run filter out=" in said
    assert data("list", "filter", "silence").startswith("silence: Keep sounds")
    assert "It names: " in data("list", "filter", "silense", code=2)
    assert data("run", "subset", "--help") == data("list", "subset")
    assert "  model.run (required)  # run folder" in data("list", "subset")
    assert set(EXAMPLES) == set(KNOWN.names())
    for command in (words for each in EXAMPLES.values() for words in each):
        _, job, *settings = shlex.split(command)
        parse(KNOWN.get(job).Config, apply_overrides({}, settings))
    assert "Did you mean 'filter'?" in data("run", "filtre", "out=x", code=2)
    assert "sourec: no such key. Did you mean 'source'?" in data("run", "verify", "out=x", "sourec=y", code=2)
