"""A source's line: every row once an epoch, any position at once, few shards open at a time, nothing else matters."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcontrast.data.order import LineOrder

SHARDS = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(sum)


def line(shards: list[int], *, block_rows: int = 8, lanes: int = 3, seed: int = 0) -> LineOrder:
    return LineOrder(shards, seed=seed, name="line", block_rows=block_rows, lanes=lanes)


@settings(max_examples=60, deadline=None)
@given(SHARDS, st.integers(1, 50), st.integers(1, 9), st.integers(0, 3))
def test_every_epoch_holds_every_row_once(shards: list[int], block_rows: int, lanes: int, epoch: int) -> None:
    order = line(shards, block_rows=block_rows, lanes=lanes)
    found = order.locate(epoch * order.rows + np.arange(order.rows))
    assert (found.epochs == epoch).all()
    assert sorted(found.rows.tolist()) == list(range(sum(shards)))


@settings(max_examples=40, deadline=None)
@given(SHARDS, st.integers(1, 50), st.integers(1, 9), st.data())
def test_a_position_is_found_the_same_alone_and_in_any_company(
    shards: list[int], block_rows: int, lanes: int, data: st.DataObject
) -> None:
    order = line(shards, block_rows=block_rows, lanes=lanes)
    whole = order.locate(np.arange(3 * order.rows)).rows
    asked = data.draw(st.lists(st.integers(0, 3 * order.rows - 1), min_size=1, max_size=20))
    again = line(shards, block_rows=block_rows, lanes=lanes)
    assert again.locate(np.array(asked)).rows.tolist() == whole[asked].tolist()
    assert [int(again.locate(np.array([each])).rows[0]) for each in asked] == whole[asked].tolist()


def test_epochs_and_seeds_differ() -> None:
    for block_rows in (10, 1000):
        order = line([50] * 10, block_rows=block_rows)
        epochs = order.locate(np.arange(1000)).rows.reshape(2, 500)
        assert (epochs[0] != epochs[1]).mean() > 0.9
        other = line([50] * 10, block_rows=block_rows, seed=1)
        assert (other.locate(np.arange(500)).rows != epochs[0]).mean() > 0.9


def test_a_source_of_one_block_is_one_philox_permutation() -> None:
    from mmcontrast.data.order import generator

    order = line([5, 7], block_rows=12)
    for epoch in range(3):
        expected = generator("order", 0, "line", epoch).permutation(12)
        assert order.locate(epoch * 12 + np.arange(12)).rows.tolist() == expected.tolist()


def test_a_lane_reads_few_shards_at_a_time_and_shares_few_with_others() -> None:
    rows, shards, lanes, block_rows = 100, 64, 4, 200
    order = line([rows] * shards, block_rows=block_rows, lanes=lanes)
    positions = np.arange(order.rows)
    shard = order.locate(positions).rows // rows
    lane = order.lane(positions)
    readers: dict[int, set[int]] = {}
    for each in range(lanes):
        mine = shard[lane == each]
        assert len(mine) == order.rows // lanes
        for start in range(0, len(mine), block_rows):
            assert len(set(mine[start : start + block_rows].tolist())) <= block_rows // rows + 1
        for number in set(mine.tolist()):
            readers.setdefault(number, set()).add(each)
    assert sorted(readers) == list(range(shards))
    assert sum(len(each) for each in readers.values()) <= shards + lanes


@pytest.mark.parametrize("block_rows", [8, 1000])
def test_substitutes_differ_and_a_large_source_stays_in_its_block(block_rows: int) -> None:
    order = line([50] * 10, block_rows=block_rows)
    for position in (0, 3, 499, 731):
        assert order.substitute(position, 0) == position
        tried = [order.substitute(position, attempt) for attempt in range(4)]
        assert len({int(order.locate(np.array([each])).rows[0]) for each in tried}) >= 3
        if not order.whole:
            assert {each // 500 for each in tried} == {position // 500}
            assert {each % 500 % order.lanes for each in tried} == {position % 500 % order.lanes}
            assert {each % 500 // order.lanes // 8 for each in tried} == {position % 500 // order.lanes // 8}


def test_memory_is_bounded_by_lanes_and_blocks_not_by_rows() -> None:
    order = line([10_000] * 10_000, block_rows=1000, lanes=4)
    for position in (0, 10**7, 10**8 - 1, 5 * 10**8, 10**12):
        order.locate(position + np.arange(64))
    held = [each for _, each in order._blocks.values()]
    assert len(held) <= 4 and sum(each.nbytes for each in held) <= 4 * 1000 * 4
    assert len(order._epochs) <= 2


@pytest.mark.slow
def test_any_step_of_a_billion_rows_is_found_in_seconds_and_little_memory() -> None:
    began, rng = time.process_time(), np.random.default_rng(0)
    tracemalloc.start()
    order = line([10_000] * 100_000, block_rows=65_536, lanes=128)
    for step in rng.integers(0, 10**6, 3).tolist():
        located = order.locate(step * 32_768 + np.arange(32_768))
        assert len(np.unique(located.rows)) == 32_768
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - began < 3 * 3.0 and peak < 200 << 20
    began = time.process_time()
    for step in range(7, 12):
        order.locate(step * 32_768 + np.arange(32_768))
    assert (time.process_time() - began) / (5 * 32_768) < 100e-6
