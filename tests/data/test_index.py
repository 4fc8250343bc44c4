"""The index: agrees with the tars, is safe to load, resumes, and is fast to open."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

import mmcontrast.data.indexing as indexing
from mmcontrast.cli import main
from mmcontrast.data.array_file import Pieces, read_arrays, write_arrays
from mmcontrast.data.index import INDEX_FILE
from mmcontrast.data.indexing import PARTS_FOLDER, PROBLEMS_FILE, IndexOptions, find_shards, index_set
from mmcontrast.data.manifest import ColumnSpec, read_manifest
from mmcontrast.data.shard_names import expand_braces
from mmcontrast.data.shards import ShardSet
from mmcontrast.errors import ConfigError, ShardError, SkipSample
from tests.data.tars import header_offsets, pairs, tar_bytes
from tests.fixtures import make_set


def foreign(folder: Path, *, shards: int = 3, rows: int = 10) -> Path:
    """Tars made by others: no manifest."""
    folder.mkdir(parents=True)
    for number in range(shards):
        members = [(f"{number}/{name}", content) for name, content in pairs(rows)]
        (folder / f"x-{number:03d}.tar").write_bytes(tar_bytes(members))
    return folder


def contents(shards: ShardSet) -> list[tuple[str, dict[str, bytes]]]:
    return [(row.key, row.members) for row in (shards[position] for position in range(len(shards)))]


def test_an_indexed_set_reads_as_the_standard_library_reads_it(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "set")
    done = index_set(str(folder))
    assert done.problems == {} and done.manifest.rows == 30 and done.lost == 0
    assert {name: column.extension for name, column in done.manifest.columns.items()} == {
        "image": "jpg",
        "text": "txt",
    }
    wanted: dict[str, dict[str, bytes]] = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for entry in tar:
                key, _, extension = entry.name.partition(".")
                stream = tar.extractfile(entry)
                assert stream is not None
                wanted.setdefault(f"set/{shard.name}/{key}", {})[extension] = stream.read()
    assert contents(ShardSet(folder)) == list(wanted.items())
    assert not (folder / PARTS_FOLDER).exists()


def test_rows_are_the_same_with_and_without_an_index(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "ours", columns=("image", "text"))
    before = contents(ShardSet(folder))
    manifest = (Path(folder) / "manifest.json").read_bytes()
    index_set(folder)
    shards = ShardSet(folder)
    assert shards.index.has_crc32 and contents(shards) == before
    assert (Path(folder) / "manifest.json").read_bytes() == manifest


def test_opening_an_indexed_set_reads_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = foreign(tmp_path / "set")
    index_set(str(folder))
    monkeypatch.setattr("mmcontrast.data.shards.read_shard", lambda *_, **__: pytest.fail("a shard was scanned"))
    assert len(ShardSet(folder)) == 30


def test_a_killed_indexing_goes_on_with_the_shards_that_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = foreign(tmp_path / "set")
    read, original = [], indexing.read_shard

    def dies_at_the_last(path: Path, **options: object) -> object:
        if path.name == "x-002.tar" and len(read) == 2:
            read.append("killed")
            raise KeyboardInterrupt
        read.append(path.name)
        return original(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(indexing, "read_shard", dies_at_the_last)
    with pytest.raises(KeyboardInterrupt):
        index_set(str(folder))
    assert not (folder / INDEX_FILE).exists()
    (folder / "x-001.tar").write_bytes((folder / "x-001.tar").read_bytes() + bytes(512))  # changed in between
    index_set(str(folder))
    assert read == ["x-000.tar", "x-001.tar", "killed", "x-001.tar", "x-002.tar"]
    assert len(ShardSet(folder)) == 30


def test_processes_change_nothing(tmp_path: Path) -> None:
    one, two = foreign(tmp_path / "one" / "set"), foreign(tmp_path / "two" / "set")
    assert index_set(str(one)).manifest == index_set(str(two), options=IndexOptions(workers=2)).manifest
    assert (one / INDEX_FILE).read_bytes() == (two / INDEX_FILE).read_bytes()


def test_lost_samples_are_counted_named_and_left_out(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "set", shards=1)
    members = pairs(10)
    del members[3]  # the caption of row 1
    content = tar_bytes(members)
    at = header_offsets(content)["row-0005.jpg"]
    (folder / "x-000.tar").write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    done = index_set(str(folder))
    assert done.problems == {"bad_header": 1, "missing_member": 2} and done.lost == 2
    rows = [json.loads(line) for line in (folder / PROBLEMS_FILE).read_text().splitlines()]
    assert {row["key"] for row in rows} == {None, "row-0001", "row-0005"}
    assert [row.rpartition("/")[2] for row, _ in contents(ShardSet(folder))] == [
        f"row-{number:04d}" for number in (0, 2, 3, 4, 6, 7, 8, 9)
    ]
    assert read_manifest(folder).made_by["problems"] == done.problems


def test_shards_that_differ_from_their_manifest_are_refused_unless_described_again(tmp_path: Path) -> None:
    folder = Path(make_set(tmp_path / "ours", columns=("image", "text"), rows=10))
    (shard,) = folder.glob("*.tar")
    content = shard.read_bytes()
    at = header_offsets(content)["row-0004.png"]
    shard.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    with pytest.raises(ShardError, match="bad_header.*--again"):
        ShardSet(folder)
    with pytest.raises(ShardError, match="rows 9, not 10"):
        index_set(str(folder))
    done = index_set(str(folder), options=IndexOptions(again=True))
    assert done.manifest.rows == 9 == len(ShardSet(folder))


def test_columns_are_guessed_from_extensions_and_json(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    members = []
    for number in range(6):
        members.append((f"k{number}.{'JPG' if number % 3 else 'png'}", b"picture"))
        members.append((f"k{number}.json", json.dumps({"caption": f"caption {number}", "url": "u"}).encode()))
        members.append((f"k{number}.nfo", b"ignored"))
    (folder / "a.tar").write_bytes(tar_bytes(members))
    done = index_set(str(folder))
    assert done.manifest.columns["text"] == ColumnSpec(modality="text", extension="json", field="caption")
    assert done.manifest.columns["image"].extensions == ("jpg", "png") and done.ignored == {"nfo": 6}
    shards = ShardSet(folder)
    assert all(shards[row].members["jpg;png"] == b"picture" for row in range(6))


def test_an_index_of_other_shards_is_refused(tmp_path: Path) -> None:
    folder, other = foreign(tmp_path / "set"), foreign(tmp_path / "other", rows=9)
    index_set(str(folder))
    index_set(str(other))
    (folder / INDEX_FILE).write_bytes((other / INDEX_FILE).read_bytes())
    with pytest.raises(ShardError, match="other shards"):
        ShardSet(folder)


def test_a_damaged_index_is_an_error_with_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_arrays(path, {"x": 1}, {"a": Pieces.of(np.arange(100, dtype=np.uint32))})
    assert read_arrays(path).arrays["a"].sum() == 4950
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        at, cut = int(rng.integers(0, 120)), int(rng.integers(0, len(content)))
        flipped = bytearray(content)
        flipped[at] ^= 1 << int(rng.integers(0, 8))
        for broken in (bytes(flipped), content[:cut]):
            path.write_bytes(broken)
            try:
                read_arrays(path)
            except ShardError as error:
                assert "index file" in str(error)


def test_a_flipped_bit_in_a_member_is_found_when_it_is_read(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "set", shards=1)
    index_set(str(folder))
    shards = ShardSet(folder)
    shard = folder / "x-000.tar"
    content = bytearray(shard.read_bytes())
    content[content.index(b"picture of row-0003") + 5] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(SkipSample, match="row-0003.*crc32") as caught:
        shards[3]
    assert caught.value.cause == "crc32" and caught.value.lasting
    assert shards[4].members["txt"] == b"caption of row-0004"


def test_braces_expand_and_are_counted_first() -> None:
    assert expand_braces("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expand_braces("{x,y}-{0..1}") == ["x-0", "x-1", "y-0", "y-1"]
    assert expand_braces("plain.tar") == ["plain.tar"]
    for pattern, message in (
        ("{0..999999999}.tar", "over 1,000,000"),
        ("{0..9999}{0..9999}", "over 1,000,000"),
        ("{9..3}", "backwards"),
        ("{a{b}}", "nested"),
    ):
        with pytest.raises(ConfigError, match=message):
            expand_braces(pattern)


def test_shards_are_found_by_folder_glob_and_pattern(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "set")
    names = ["x-000.tar", "x-001.tar", "x-002.tar"]
    assert find_shards(str(folder)) == (names, folder)
    assert find_shards(str(folder / "x-*.tar")) == (names, folder)
    assert find_shards(str(folder / "x-{000..001}.tar")) == (names[:2], folder)
    assert find_shards(str(folder), out=tmp_path)[0][0] == "set/x-000.tar"
    with pytest.raises(ShardError, match="no .tar shard"):
        find_shards(str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="below the manifest's folder"):
        find_shards(str(folder), out=tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="--out"):
        find_shards("https://host/{0..9}.tar")


def test_the_commands_index_show_and_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_set(tmp_path / "ours", columns=("image", "text"), rows=10)
    assert main(["data", "index", folder, "--workers", "1"]) == 0
    assert "10 rows in 1 shards" in capsys.readouterr().out
    assert main(["data", "show", folder]) == 0
    assert "with crc32 of every member" in capsys.readouterr().out
    assert main(["data", "show", folder, "--row", "3"]) == 0
    assert "row-0003" in capsys.readouterr().out
    assert main(["data", "verify", folder]) == 0
    (shard,) = Path(folder).glob("*.tar")
    content = bytearray(shard.read_bytes())
    content[content.index(b"\x89PNG", 3000) + 20] ^= 4
    shard.write_bytes(bytes(content))
    out = tmp_path / "bad.jsonl"
    assert main(["data", "verify", folder, "--out", str(out)]) == 1
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row.get("cause", row.get("kind")) for row in rows} == {"crc32", "changed"}
    assert main(["data", "show", str(tmp_path / "nothing")]) == 2
