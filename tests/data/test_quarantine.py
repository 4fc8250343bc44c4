"""Bad rows: replaced alike on all ranks and runs, written down once, accounted for, and too many stop the run."""

from __future__ import annotations

import ast
import json
import random
import shutil
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mmcontrast
from mmcontrast.checkpoint import load_model_state
from mmcontrast.cli import main
from mmcontrast.config import dump
from mmcontrast.data.indexing import IndexOptions, index_set
from mmcontrast.data.loader import DataConfig, Loader
from mmcontrast.data.quarantine import BadRow, Budgets, Quarantine, QuarantineConfig, read_log
from mmcontrast.data.shards import ShardSet
from mmcontrast.data.source import SourceConfig
from mmcontrast.data.storage import Storage
from mmcontrast.errors import BadSamples, RunFolderError
from mmcontrast.specs import InputSpec
from mmcontrast.train import train
from tests.data.damage import overwrite
from tests.data.test_loader import SPECS
from tests.dist.pool import on_ranks
from tests.fixtures import make_set
from tests.fuzz.test_tars import cut_out, flip, noise, repeat, truncate
from tests.small_run import run_of, tree

PAIR: dict[str, InputSpec] = {name: SPECS[name] for name in ("image", "text")}
BEARS_ALL = QuarantineConfig(max_fraction=1.0, grace_rows=1000, max_consecutive=1000)


@pytest.fixture
def damaged(tmp_path: Path) -> str:
    """37 pictures over four shards, six of them not pictures."""
    manifest = make_set(tmp_path / "damaged", columns=("image", "text"), rows=37)
    overwrite(manifest, (3, 4, 11, 12, 25, 36), "png")
    return manifest


def a_loader(manifest: str, **fields: Any) -> Loader:
    sizes = {"rank": fields.pop("rank", 0), "world_size": fields.pop("world_size", 1)}
    settings = {"batch_rows": 12, "workers": 0, **fields}
    return Loader(
        DataConfig(sources={"set": SourceConfig(manifest=manifest)}, **settings), seed=3, specs=PAIR, **sizes
    )


def test_a_bad_row_is_named_in_full_and_another_stands_in_its_place(damaged: str) -> None:
    loader = a_loader(damaged)
    loader.seek(0, last=3)
    loaded = list(loader)
    assert [len(each.batch.keys) for each in loaded] == [12, 12, 12]
    assert all(each.batch.columns["image"].present.all() for each in loaded)
    bad = [row for each in loaded for row in each.bad]
    assert bad == loader.take_bad() and loader.take_bad() == []
    names = {f"row-{number:04d}" for number in (3, 4, 11, 12, 25, 36)}
    own = [row for row in bad if row.attempt == 0]
    assert len(own) == len({row.key for row in own}) >= 5 and {row.key for row in bad} <= names
    for row in own:
        assert (row.source, row.cause, row.epoch, row.lasting) == ("set", "image_format", 0, True)
        assert row.shard == f"damaged-{int(row.key[4:]) // 10:06d}.tar" and row.key in row.detail
        keys = loaded[row.batch].batch.keys
        assert keys[row.row] == row.replaced_by and row.key not in str(keys)


@pytest.mark.parametrize("block_rows", [1000, 10])
def test_batches_and_log_do_not_know_ranks_workers_or_interruptions(damaged: str, block_rows: int) -> None:
    def found(world_size: int, workers: int, stops: tuple[int, ...]) -> tuple[list[list[str]], list[BadRow]]:
        keys: list[list[str]] = []
        bad: list[BadRow] = []
        for first, last in zip((0, *stops), (*stops, 6), strict=True):
            ranks = [
                a_loader(damaged, rank=rank, world_size=world_size, workers=workers, block_rows=block_rows, lanes=2)
                for rank in range(world_size)
            ]
            for rank in ranks:
                rank.seek(first, last=last)
            for _ in range(first, last):
                batches = [next(rank) for rank in ranks]
                keys.append([key for each in batches for key in each.batch.keys])
                bad += [row for each in batches for row in each.bad]
        return keys, bad

    whole = found(1, 0, ())
    assert len(whole[1]) > 8
    assert found(2, 0, (1, 4)) == whole
    assert found(3, 1, (2,)) == whole


def test_a_resumed_run_has_the_same_weights_and_writes_the_same_log(
    sets: dict[str, str], damaged: str, tmp_path: Path
) -> None:
    sets = {**sets, "pictures": damaged}
    data = {"quarantine": {"grace_rows": 40}}
    whole = train(run_with(sets, tmp_path / "whole", data))
    parts = run_with(sets, tmp_path / "parts", data, checkpoint={"every_steps": 3})
    train(parts)
    log = tmp_path / "parts/quarantine.jsonl"
    # A crash after the checkpoint of step 6: the rest is replayed, and a row was cut off in writing.
    shutil.rmtree(tmp_path / "parts/checkpoints/step-00000008")
    log.write_bytes(log.read_bytes()[:-20])
    again = train(parts)
    assert log.read_bytes() == (tmp_path / "whole/quarantine.jsonl").read_bytes()
    rows = list(read_log(log))
    assert len(rows) > 8 and max(row.batch for row in rows) >= 6 and len(set(rows)) == len(rows)
    first, second = load_model_state(whole.checkpoint), load_model_state(again.checkpoint)
    assert all(second[name].equal(value) for name, value in first.items())
    metrics = [json.loads(line) for line in (tmp_path / "parts/metrics.jsonl").read_text().splitlines()][-1]
    own = [row for row in rows if row.attempt == 0]
    assert metrics["quarantined_rows"] == metrics["quarantined/pictures/image_format"] == len(own)


def run_with(sets: dict[str, str], out: Path, data: dict[str, Any], **fields: Any) -> Any:
    return run_of(sets, out, data={**tree(sets, out)["data"], **data}, **fields)


def test_too_many_bad_rows_end_the_run_with_a_report(
    sets: dict[str, str], damaged: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overwrite(damaged, range(0, 37, 2), "json", b"[1]    ")
    config = tmp_path / "config.yaml"
    config.write_text(dump(run_of({**sets, "pictures": damaged}, tmp_path / "run")))
    assert main(["train", str(config)]) == 2
    said = capsys.readouterr().err
    assert "source 'pictures': 11 of its last" in said and "data.quarantine.max_fraction = 2.0%" in said
    assert f"'{tmp_path}/run/quarantine.jsonl'" in said and "Traceback" not in said
    assert " x json in source 'pictures'" in said and " x image_format in source 'pictures'" in said
    # Raised budgets let the same command go on.
    assert main(["train", str(config), "data.quarantine.grace_rows=1000"]) == 0


def test_a_source_of_rubble_alone_ends_the_run_and_leaves_its_rows_in_the_log(
    sets: dict[str, str], damaged: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overwrite(damaged, range(37), "png")
    config = tmp_path / "config.yaml"
    config.write_text(dump(run_of({**sets, "pictures": damaged}, tmp_path / "run")))
    assert main(["train", str(config)]) == 2
    said = capsys.readouterr().err
    assert "100 bad rows in a row" in said and "100 x image_format in source 'pictures'" in said
    rows = list(read_log(tmp_path / "run/quarantine.jsonl"))
    assert len(rows) == 100 and {row.replaced_by for row in rows} == {None}


def test_budgets_count_a_window_of_each_source_and_rows_one_after_the_other() -> None:
    settings = QuarantineConfig(max_fraction=0.1, window_rows=50, grace_rows=2, max_consecutive=3)
    spread = Budgets(settings)
    assert [spread.add("a", position) for position in range(500, 1000, 10)] == [None] * 50
    assert spread.add("a", 993) is not None  # the sixth within 50 rows
    early = Budgets(settings)
    assert [early.add("a", position) for position in (0, 2)] == [None, None]
    assert "3 of its last 5 rows" in str(early.add("a", 4))
    other = Budgets(replace(settings, max_fraction=1.0))
    assert [other.add(source, position) for position in (7, 8, 9) for source in "ab"] == [None] * 6
    assert other.add("b", 11) is None and "4 bad rows one after the other" in str(other.add("a", 10))


def test_what_could_not_be_read_once_is_replaced_again_in_a_replay(tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "set", columns=("image", "text"), rows=37)
    storage = Storage(on_shard_error="substitute", retries=0)
    shard = tmp_path / "set/set-000001.tar"
    content = shard.read_bytes()
    loader = a_loader(manifest, storage=storage)
    loader.seek(0, last=3)
    shard.unlink()
    first = [each.batch.keys for each in loader]
    log = Quarantine(tmp_path, BEARS_ALL)
    log.add(loader.take_bad())
    shard.write_bytes(content)
    again = a_loader(manifest, storage=storage)
    again.remember(Quarantine(tmp_path, BEARS_ALL).resume(0))
    again.seek(0, last=3)
    assert [each.batch.keys for each in again] == first
    assert {row.cause for row in again.take_bad()} == {"unread"}


def test_a_log_that_cannot_be_written_ends_the_run(tmp_path: Path, damaged: str) -> None:
    loader = a_loader(damaged)
    loader.seek(0, last=3)
    list(loader)
    with pytest.raises(RunFolderError, match="No bad row may go unnamed"):
        Quarantine(tmp_path / "nowhere", BEARS_ALL).add(loader.take_bad())


def _on_a_rank(folder: str) -> str:
    from mmcontrast import comm

    rank = comm.rank()
    log = Quarantine(Path(folder), QuarantineConfig(max_consecutive=4))
    log.resume(0)
    for batch in range(2):
        log.add([_row(batch, 2 * batch + rank, 1 - rank)])
    try:
        log.add([_row(2, 4, 0)] if rank == 1 else [])
    except BadSamples as error:
        assert error.on_every_rank
        return str(error)
    return "nothing"


def _row(batch: int, position: int, row: int) -> BadRow:
    place = {"batch": batch, "row": row, "attempt": 0, "epoch": 0, "position": position}
    return BadRow(**place, source="a", shard="s", key=f"k{position}", cause="c", detail="d", lasting=True)


def test_two_ranks_write_one_log_in_the_order_of_the_batches_and_stop_together(tmp_path: Path) -> None:
    said = on_ranks(_on_a_rank, 2, tmp_path, str(tmp_path))
    assert all("5 bad rows one after the other" in each for each in said)
    rows = [(row.batch, row.row, row.key) for row in read_log(tmp_path / "quarantine.jsonl")]
    assert rows == [(0, 0, "k1"), (0, 1, "k0"), (1, 0, "k3"), (1, 1, "k2"), (2, 0, "k4")]


@pytest.mark.parametrize("seed", range(6))
def test_delivered_quarantined_and_tail_are_what_the_index_counts(tmp_path: Path, seed: int) -> None:
    """Over a shard mutated before it is indexed, another mutated afterwards, and rows that do not decode."""
    rng = random.Random(seed)
    manifest = make_set(tmp_path / "set", columns=("image", "text"), rows=40)
    shards = sorted((tmp_path / "set").glob("*.tar"))
    shards[0].write_bytes(rng.choice((flip, truncate, noise, cut_out, repeat))(shards[0].read_bytes(), rng))
    index_set(manifest, options=IndexOptions(again=True))
    indexed = ShardSet(manifest)
    wanted = {indexed.name_of(row) for row in range(len(indexed))}
    overwrite(manifest, rng.sample(range(len(indexed) // 2, len(indexed)), 3), "png")
    damaged = bytearray(shards[2].read_bytes())
    for _ in range(40):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    shards[2].write_bytes(bytes(damaged))

    loader = a_loader(manifest, batch_rows=8)
    steps = int(2.5 * len(indexed)) // 8
    loader.seek(0, last=steps)
    delivered: dict[int, Counter[tuple[str, str]]] = defaultdict(Counter)
    line = loader._steps.mixture
    source = loader._steps.sources["set"]
    for step, loaded in enumerate(loader):
        replaced = {row.row for row in loaded.bad}
        for number, position in enumerate(line.batch(step).position.tolist()):
            if number not in replaced:
                epoch, row = source.locate(position)
                assert loaded.batch.keys[number].endswith("/".join(indexed.name_of(row)))
                delivered[epoch][indexed.name_of(row)] += 1
    quarantined: dict[int, Counter[tuple[str, str]]] = defaultdict(Counter)
    for bad in loader.take_bad():
        if bad.attempt == 0:
            quarantined[bad.epoch][bad.shard, bad.key] += 1
    assert sum(map(len, quarantined.values())) >= 6
    for epoch in (0, 1):
        assert delivered[epoch] + quarantined[epoch] == Counter(wanted)
    (account,) = loader.accounts()
    assert account.missing == 0 and account.epochs == 3 and account.rows == len(wanted)
    assert account.delivered == sum(each.total() for each in delivered.values())
    assert sum(account.quarantined.values()) == sum(each.total() for each in quarantined.values())
    assert account.tail == 3 * len(wanted) - 8 * steps
    assert "UNACCOUNTED" not in account.in_words() and f"{account.tail} not reached" in account.in_words()
    assert replace(account, delivered=account.delivered - 1).missing == 1


def test_every_failure_of_a_sample_has_a_cause() -> None:
    folder = Path(mmcontrast.__file__).parent / "data"
    calls = [
        (path.name, node.lineno, {word.arg for word in node.keywords})
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "SkipSample"
    ]
    assert len(calls) > 20
    assert [call for call in calls if "cause" not in call[2]] == []
