"""Batches of captions of like length: the same rows an epoch, the same order for everyone, less padding."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data_pipelines.pack import Sample, write_shards
from mmcontrast.config import parse
from mmcontrast.data.buckets import Buckets
from mmcontrast.data.caption_lengths import caption_lengths
from mmcontrast.data.loader import DataConfig, Loader
from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.data.order import LineOrder
from mmcontrast.data.shards import ShardSet
from mmcontrast.errors import ConfigError
from mmcontrast.specs import TextSpec
from mmcontrast.tokenizers import TOKENIZERS

ROWS, BATCH_ROWS = 50, 4
TEXT = TextSpec(tokenizer=TOKENIZERS.get("hashed_words").Config(), context_length=64)


@pytest.fixture(scope="module", params=["member", "field"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Captions of 1 to 12 words, as members of their own or in a JSON field."""
    folder, field = tmp_path_factory.mktemp("words"), request.param == "field"
    words = np.random.default_rng(0).integers(1, 13, ROWS).tolist()
    rows = [
        Sample(
            key=f"{row:03d}",
            members={} if field else {"txt": b"word " * count},
            info={"said": ["word " * count], "licence": "none"},
        )
        for row, count in enumerate(words)
    ]
    column = ColumnSpec(modality="text", extension="json" if field else "txt", field="said" if field else None)
    write_shards(rows, folder=folder, name="words", made_by={}, columns={"text": column}, rows_per_shard=20)
    return str(folder)


def loaded(folder: str, *, steps: int = 25, **fields: Any) -> list[Any]:
    tree = {
        "sources": {"a": {"manifest": folder}},
        "batch_rows": BATCH_ROWS,
        "draw": "per_step",
        "workers": 0,
        **fields,
    }
    world_size = tree.pop("world_size", 1)
    loaders = [
        Loader(parse(DataConfig, tree), seed=3, specs={"text": TEXT}, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for loader in loaders:
        loader.seek(0, last=steps)
    return [[each.batch for each in step] for step in zip(*loaders, strict=True)]


def test_every_epoch_has_every_row_once_in_batches_of_like_length(folder: str) -> None:
    plain, sorted_ = loaded(folder), loaded(folder, bucket_batches=5)
    keys = [key for (batch,) in sorted_ for key in batch.keys]
    assert len(set(keys[:48])) == 48 and set(Counter(keys).values()) == {2}  # one batch is of both epochs
    assert keys[:48] != keys[-48:]

    def padding(steps: list[Any]) -> int:
        return sum(int((batch.columns["text"].values == 0).sum()) for (batch,) in steps)

    assert 0 < padding(sorted_) < padding(plain) / 2
    # Short and long ones take turns: batches are shuffled after their rows were sorted.
    longest = [batch.columns["text"].values.shape[1] for (batch,) in sorted_]
    assert longest != sorted(longest)


@pytest.mark.parametrize("lanes", [{}, {"block_rows": 11, "lanes": 2}])
def test_ranks_and_sought_steps_have_the_same_order(folder: str, lanes: dict[str, int]) -> None:
    fields = {"bucket_batches": 5, **lanes}
    whole = [batch.keys for (batch,) in loaded(folder, **fields)]
    ranks = [[key for batch in step for key in batch.keys] for step in loaded(folder, world_size=2, **fields)]
    assert ranks == whole
    tree = {"sources": {"a": {"manifest": folder}}, "batch_rows": BATCH_ROWS, "draw": "per_step", **fields}
    loader = Loader(parse(DataConfig, {**tree, "workers": 0}), seed=3, specs={"text": TEXT})
    loader.seek(17, last=20)
    assert [each.batch.keys for each in loader] == whole[17:20]


def test_batches_begin_where_they_do_in_the_line_of_all_epochs() -> None:
    lengths = np.arange(10)
    order = LineOrder([10], seed=0, name="x", block_rows=10, lanes=1, buckets=Buckets(lengths, 4, 2))
    rows = order.locate(np.arange(30)).rows
    assert all(sorted(rows[start : start + 10]) == list(range(10)) for start in (0, 10, 20))
    # Epoch 1 begins at position 10: two rows of a batch that epoch 0 began, then two whole batches, sorted together.
    for batch in (rows[0:4], rows[4:8], rows[12:16], rows[16:20]):
        assert list(batch) == sorted(batch)
    first, second = rows[12:16], rows[16:20]
    assert max(first) < min(second) or max(second) < min(first)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    shards=st.lists(st.integers(1, 90), min_size=2, max_size=6),
    block_rows=st.integers(1, 60),
    lanes=st.integers(1, 4),
    lane_rows=st.integers(1, 4),
    batches=st.integers(1, 6),
    epoch=st.integers(0, 3),
)
def test_a_lane_keeps_its_rows_and_each_batch_has_like_ranks_of_every_lane(
    shards: list[int], block_rows: int, lanes: int, lane_rows: int, batches: int, epoch: int
) -> None:
    count = sum(shards)
    assume(count > block_rows)
    lanes = min(lanes, count)
    batch_rows = lanes * lane_rows
    lengths = np.random.default_rng(0).permutation(count)
    build = partial(LineOrder, shards, seed=1, name="x", block_rows=block_rows, lanes=lanes)
    plain, order = build(), build(buckets=Buckets(lengths, batch_rows, batches))
    positions = epoch * count + np.arange(count)
    rows = order.locate(positions).rows
    assert sorted(rows) == list(range(count))
    assert [order.locate_one(position)[1] for position in positions[::7].tolist()] == rows[::7].tolist()
    found, shuffled = defaultdict(set), defaultdict(set)
    for place in range(count):
        block = (place % lanes, place // lanes // block_rows)
        found[block].add(rows[place])
        shuffled[block].add(plain.locate_one(int(positions[place]))[1])
    assert found == shuffled
    # Of a window's batches, the one with the shortest rows of one lane has the shortest of all of them.
    for first, blocks in whole_batches(count, block_rows, lanes, batch_rows, epoch):
        for start in range(0, len(blocks), batches):
            here = [rows[first + number * batch_rows :][:batch_rows] for number in blocks[start : start + batches]]
            places = np.arange(first, first + batch_rows) % lanes
            orders = []
            for lane in range(lanes):
                highest = [lengths[batch[places == lane]].max() for batch in here]
                lowest = [lengths[batch[places == lane]].min() for batch in here]
                orders.append(np.argsort(lowest).tolist())
                assert all(highest[a] < lowest[b] for a, b in pairwise(orders[-1]))
            assert all(each == orders[0] for each in orders)


def whole_batches(
    count: int, block_rows: int, lanes: int, batch_rows: int, epoch: int
) -> Iterator[tuple[int, list[int]]]:
    """The epoch's first batch, and the numbers of those that lie in one block of every lane, block by block."""
    first = -epoch * count % batch_rows
    by_block = defaultdict(list)
    for number in range((count - first) // batch_rows):
        start = first + number * batch_rows
        offsets = {place // lanes // block_rows for place in range(start, start + batch_rows)}
        if len(offsets) == 1:
            by_block[offsets.pop()].append(number)
    for numbers in by_block.values():
        yield first, numbers


def test_a_large_source_saves_padding_too(folder: str) -> None:
    lanes = {"block_rows": 24, "lanes": 2}

    def padding(**fields: Any) -> int:
        steps = loaded(folder, **lanes, **fields)
        return sum(int((batch.columns["text"].values == 0).sum()) for (batch,) in steps)

    assert 0 < padding(bucket_batches=5) < padding() * 2 / 3


def test_lengths_are_bytes_of_captions(folder: str) -> None:
    shards = ShardSet(folder)
    column = shards.manifest.columns["text"]
    expected = [len(" ".join(["word"] * count)) for count in np.random.default_rng(0).integers(1, 13, ROWS)]
    found = caption_lengths(shards, column, ())
    assert np.abs(found - expected).max() <= 1  # a blank at the end
    assert np.array_equal(caption_lengths(shards, column, ("said",)) >= found, np.ones(ROWS, bool))
    assert not caption_lengths(shards, column, ("absent",)).any()


def test_what_cannot_be_sorted_is_refused(folder: str) -> None:
    with pytest.raises(ConfigError, match="Set draw: per_step"):
        loaded(folder, bucket_batches=5, draw="per_row")
    with pytest.raises(
        ConfigError, match=r"4, is no multiple of data.lanes, 3. .* raise data.block_rows to .* 50 rows"
    ):
        loaded(folder, bucket_batches=5, block_rows=20, lanes=3)
    streamed = {"a": {"manifest": folder, "stream": {"columns": {"text": "txt"}, "rows": 50}}}
    with pytest.raises(ConfigError, match="a stream has none"):
        loaded(folder, bucket_batches=5, sources=streamed)
