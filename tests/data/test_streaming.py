"""Streamed sources: every row once a pass, resumed by shard, damage named, nothing run or unpickled."""

from __future__ import annotations

import gzip
import itertools
import pickle
import shutil
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmcontrast.config import parse
from mmcontrast.data.loader import DataConfig, Loader
from mmcontrast.data.shards import ShardSet
from mmcontrast.errors import ConfigError, ShardError
from mmcontrast.run import check
from mmcontrast.specs import InputSpec
from mmcontrast.train import train
from tests.data.tars import tar_bytes
from tests.data.test_loader import SPECS
from tests.fixtures import make_set, picture
from tests.small_run import run_of, tree

PAIR: dict[str, InputSpec] = {name: SPECS[name] for name in ("image", "text")}
COLUMNS = {"image": "jpg;png", "text": "json:captions"}


@pytest.fixture
def tars(tmp_path: Path) -> str:
    """A folder of 5 tars of 8 rows, without a manifest."""
    made = Path(make_set(tmp_path / "made", columns=("image", "text"), rows=40, rows_per_shard=8))
    folder = tmp_path / "tars"
    folder.mkdir()
    for path in made.glob("*.tar"):
        shutil.copy(path, folder)
    return str(folder)


def a_loader(where: str, **fields: Any) -> Loader:
    sizes = {"rank": fields.pop("rank", 0), "world_size": fields.pop("world_size", 1)}
    stream = {"columns": COLUMNS, "rows": 40, "shuffle_rows": fields.pop("shuffle_rows", 4)}
    source = {"manifest": where, "stream": stream}
    config = parse(DataConfig, {"sources": {"set": source}, "batch_rows": 8, "workers": 0, **fields})
    return Loader(config, seed=3, specs=PAIR, **sizes)


def keys_of(loader: Loader, first: int, last: int) -> list[str]:
    loader.seek(first, last=last)
    return [key for loaded in loader for key in loaded.batch.keys]


def test_a_pass_gives_every_row_shuffled_in_shards_of_another_order_each_epoch(tars: str) -> None:
    keys = keys_of(a_loader(tars, shuffle_rows=1), 0, 15)
    # The row that the buffer keeps comes at the end of a later pass.
    counts = Counter(keys)
    assert len(counts) == 40 and set(counts.values()) <= {2, 3, 4}
    assert keys[:40] != keys[40:80]
    assert {key.split("/", 1)[1] for key in keys} == rows_of(tars)
    assert keys == keys_of(a_loader(tars, shuffle_rows=1), 0, 15)
    assert keys_of(a_loader(tars, shuffle_rows=20), 0, 5) != keys[:40]


def rows_of(where: str) -> set[str]:
    """Shard and key of every row, read by the standard library."""
    found = set()
    for path in Path(where).glob("*.tar"):
        with tarfile.open(path) as tar:
            found |= {f"{path.name}/{name.split('.')[0]}" for name in tar.getnames()}
    return found


def test_ranks_and_workers_read_different_shards(tars: str) -> None:
    ranks = [a_loader(tars, rank=rank, world_size=2, workers=2, batch_rows=4, shuffle_rows=1) for rank in range(2)]
    seen = [keys_of(rank, 0, 6) for rank in ranks]
    assert len(seen[0]) == len(seen[1]) == 12
    assert not {key.split("/")[1] for key in seen[0]} & {key.split("/")[1] for key in seen[1]}


def test_fewer_shards_than_readers_are_refused_on_every_rank(tars: str) -> None:
    shards = len(list(Path(tars).glob("*.tar")))
    a_loader(tars, world_size=1, workers=shards)
    for rank in range(2):
        with pytest.raises(ConfigError, match=rf"{shards} shard\(s\) for {2 * shards} readers .*Lower data.workers"):
            a_loader(tars, rank=rank, world_size=2, workers=shards, batch_rows=4)


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_resumed_stream_begins_at_the_first_shard_that_was_not_finished(tars: str, world_size: int) -> None:
    first = a_loader(tars)
    seen = keys_of(first, 0, 3)
    counts = first.counts()
    assert counts["stream/set"] == first.reached()["set"] >= 1
    later: list[str] = []
    for rank in range(world_size):
        again = a_loader(tars, rank=rank, world_size=world_size)
        again.load_counts([counts])
        later += keys_of(again, 3, 6)
    shards = list(dict.fromkeys(key.split("/")[1] for key in seen))
    finished = {shard for shard in shards if sum(shard in key for key in seen) == 8}
    assert finished and not {key.split("/")[1] for key in later[:20]} & set(list(finished)[: counts["stream/set"]])
    assert len(set(seen) | set(later)) > 30


def ranks_of(where: str, world_size: int, workers: int) -> list[Loader]:
    return [
        a_loader(where, rank=rank, world_size=world_size, workers=workers, batch_rows=12) for rank in range(world_size)
    ]


GRID = tuple(itertools.product((1, 2, 4), (0, 1, 3)))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((2, 0), (4, 0)),
        *(pytest.param(each, (1, 0), marks=pytest.mark.slow) for each in GRID),
        *(pytest.param((2, 1), each, marks=pytest.mark.slow) for each in GRID),
    ],
)
def test_no_row_is_lost_where_a_stream_goes_on_with_other_ranks_and_workers(
    before: tuple[int, int], after: tuple[int, int], tmp_path: Path
) -> None:
    where = make_set(tmp_path / "many", columns=("image", "text"), rows=56, rows_per_shard=4)
    seen: list[str] = []
    first = ranks_of(where, *before)
    for rank in first:
        seen += keys_of(rank, 0, 3)
    assert len(seen) == 36 and len(set(seen)) == 36
    counts = [rank.counts() for rank in first]
    second = ranks_of(where, *after)
    for rank in second:
        rank.load_counts(counts)
        rank.seek(3, last=40)
    # All that is left of the first pass, and little more.
    while min(rank.reached()["set"] for rank in second) < 14:
        seen += [key for rank in second for key in next(rank).batch.keys]
    assert {key.split("/", 1)[1] for key in seen} == rows_of(where)
    assert len(seen) < 36 + 56 + 56


def test_bad_rows_and_broken_shards_are_named_and_the_next_row_stands_in(tars: str, tmp_path: Path) -> None:
    paths = sorted(Path(tars).glob("*.tar"))
    content = bytearray(paths[0].read_bytes())
    start = content.index(b"\x89PNG")
    content[start : start + 8] = b"<html>  "
    paths[0].write_bytes(bytes(content))
    paths[1].write_bytes(paths[1].read_bytes()[:3000])
    paths[2].write_bytes(gzip.compress(paths[2].read_bytes()))
    header_of_third = 512 * 8
    content = bytearray(paths[3].read_bytes())
    content[header_of_third : header_of_third + 100] = b"\xff" * 100
    paths[3].write_bytes(bytes(content))
    paths[4].write_bytes(tar_bytes([]))
    loader = a_loader(tars)
    keys = keys_of(loader, 0, 2)
    assert len(keys) == 16
    found = loader.take_bad()
    assert not [row.detail for row in found if " at 0x" in row.detail or "<" in row.detail]  # the same in every run
    bad = {(row.shard, row.cause) for row in found}
    names = [path.name for path in paths]
    damaged = {(name, "shard_damaged") for name in names[1:4]}
    assert bad >= damaged | {(names[0], "image_format"), (names[4], "shard_empty")}


def test_code_members_are_never_opened_and_large_ones_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("a pickle was loaded",))

    folder = tmp_path / "tars"
    folder.mkdir()
    caption = b'{"captions": "a red square"}'
    members = [("a.pkl", pickle.dumps(Evil())), ("a.png", picture("red")), ("a.json", caption)]
    members += [("b.png", picture("red")), ("b.json", caption), ("c.png", bytes(3 << 20)), ("c.json", caption)]
    (folder / "x.tar").write_bytes(tar_bytes(members))
    loader = a_loader(str(folder), limits={"member_bytes": 1 << 20})
    assert {key.rsplit("/", 1)[1] for key in keys_of(loader, 0, 3)} == {"a"}
    assert {row.cause for row in loader.take_bad()} == {"shard_damaged"}


def test_a_vanished_shard_ends_the_run_or_is_passed_over_as_the_config_says(tars: str) -> None:
    for policy in ("fail", "substitute"):
        loader = a_loader(tars, storage={"on_shard_error": policy, "retries": 0})
        gone = sorted(Path(tars).glob("*.tar"))[0]
        content = gone.read_bytes()
        gone.unlink()
        if policy == "fail":
            with pytest.raises(ShardError, match="on_shard_error=substitute"):
                keys_of(loader, 0, 10)
        else:
            assert len(keys_of(loader, 0, 10)) == 80
            assert {row.cause for row in loader.take_bad()} == {"shard_unreadable"}
        gone.write_bytes(content)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("pipe:cat x.tar", "no .tar shard"),
        ("pipe://cat x.tar", "Commands"),
        ("ftp://host/x-{0..9}.tar", "data.storage.schemes"),
        ("nowhere/{0..3}.tar", "no .tar shard"),
    ],
)
def test_what_may_not_be_streamed_is_refused_before_training(
    sets: dict[str, str], tmp_path: Path, where: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        check(a_run(sets, tmp_path, where))


def a_run(sets: dict[str, str], tmp_path: Path, where: str, **fields: Any) -> Any:
    data = tree(sets, tmp_path)["data"]
    stream = {"columns": COLUMNS, "rows": 40, "shuffle_rows": 8}
    data["sources"]["pictures"] = {"manifest": where, "stream": stream, "weight": 2, "group": "thing"}
    return run_of(sets, tmp_path / "run", data=data, **fields)


def test_a_run_says_what_a_stream_gives_up_trains_and_resumes(
    sets: dict[str, str], tmp_path: Path, tars: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = check(a_run(sets, tmp_path, tars))
    assert any("no exact order" in line and "data index" in line for line in lines)
    train(a_run(sets, tmp_path, f"{tars}/*.tar", steps=4))
    again = train(a_run(sets, tmp_path, f"{tars}/*.tar", steps=4))
    assert again.step == 4
    assert "streamed by webdataset" in capsys.readouterr().out


def test_fewer_shards_than_readers_are_found_by_the_check(sets: dict[str, str], tmp_path: Path, tars: str) -> None:
    one = a_run(sets, tmp_path, f"{tars}/{min(Path(tars).iterdir()).name}")
    with pytest.raises(ConfigError, match="1 shard.s. for 2 readers"):
        check(replace(one, data=replace(one.data, workers=2)))


def test_tars_named_as_if_they_had_a_manifest_are_told_apart(tars: str) -> None:
    for where, said in ((tars, "no manifest at"), (str(min(Path(tars).iterdir())), "is a shard")):
        with pytest.raises(ShardError, match=f"{said}.*'mmcontrast data index FOLDER'.*'stream'"):
            ShardSet(where)


def test_settings_that_need_an_index_are_refused() -> None:
    stream = {"columns": COLUMNS, "rows": 40}
    for extra in ({"where": {"a": "b"}}, {"weight": "rows"}, {"when_dry": "stop"}, {"shuffle_captions": True}):
        with pytest.raises(ConfigError, match="need an index"):
            parse(DataConfig, {"sources": {"x": {"manifest": "x", "stream": stream, **extra}}, "batch_rows": 2})
