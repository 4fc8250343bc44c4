"""Mixtures: exact shares at every step, any step at once, sources that run dry, stages, lanes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcontrast.data.mixture import Draws, Mixture, Share, Stage
from mmcontrast.data.order import LineOrder
from mmcontrast.errors import ConfigError

WEIGHTS = {"a": 0.6, "b": 0.3, "c": 0.1}


def share(weight: float, *, rows: int = 100, block_rows: int = 1000, lanes: int = 4, **fields: Any) -> Share:
    order = LineOrder([rows], seed=0, name="any", block_rows=block_rows, lanes=lanes)
    return Share(order=order, weight=weight, **fields)


def mixture(
    weights: dict[str, float] | None = None, *, shares: dict[str, Share] | None = None, **fields: Any
) -> Mixture:
    made = shares or {name: share(weight) for name, weight in (weights or WEIGHTS).items()}
    return Mixture(made, **{"batch_rows": 7, "draw": "per_row", "seed": 1} | fields)


def rows_of(draws: Draws) -> list[tuple[str, int]]:
    return [
        (draws.names[source], position)
        for source, position in zip(draws.source.tolist(), draws.position.tolist(), strict=True)
    ]


def check_no_gap_and_no_repeat(made: Mixture, steps: int) -> dict[str, int]:
    seen: dict[str, list[int]] = {name: [] for name in made.names}
    for step in range(steps):
        draws = made.batch(step)
        assert len(draws) == made.batch_rows
        for name, position in rows_of(draws):
            seen[name].append(position)
        assert {name: len(positions) for name, positions in seen.items()} == made.drawn(step + 1)
    for name, positions in seen.items():
        assert sorted(positions) == list(range(len(positions))), name
    return {name: len(positions) for name, positions in seen.items()}


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 9), min_size=1),
    st.sampled_from(["per_row", "per_step"]),
    st.sampled_from([1.0, 2.5]),
)
def test_positions_of_each_source_run_without_gap_or_repeat(
    weights: dict[str, float], draw: str, temperature: float
) -> None:
    check_no_gap_and_no_repeat(mixture(weights, draw=draw, temperature=temperature), 40)


def test_shares_are_within_a_draw_of_exact_at_every_step() -> None:
    made = mixture()
    for step in (1, 10, 1_000, 10**9):
        drawn = made.drawn(step)
        assert sum(drawn.values()) == 7 * step
        for name, weight in WEIGHTS.items():
            assert abs(drawn[name] - weight * 7 * step) <= 1


def test_a_step_homogeneous_batch_has_one_source_and_shares_hold_over_steps() -> None:
    made = mixture(batch_rows=4, draw="per_step")
    sources = Counter()
    for step in range(100):
        (name,) = {name for name, _ in rows_of(made.batch(step))}
        sources[name] += 1
    assert sources == {"a": 60, "b": 30, "c": 10}


def test_any_step_is_found_at_once_and_the_seed_changes_only_the_order() -> None:
    first, again, other = mixture(seed=3), mixture(seed=3), mixture(seed=4)
    assert rows_of(first.batch(10**8)) == rows_of(again.batch(10**8))
    assert rows_of(first.batch(5)) != rows_of(other.batch(5))
    assert sorted(rows_of(first.batch(5))) == sorted(rows_of(other.batch(5)))


def test_a_temperature_evens_weights_out_and_rows_are_its_usual_base() -> None:
    made = mixture({"large": 900.0, "small": 100.0}, temperature=2.0, batch_rows=100)
    assert made.drawn(1) == {"large": 75, "small": 25}  # sqrt(900) : sqrt(100)
    assert mixture({"large": 900.0, "small": 100.0}, batch_rows=100).drawn(1) == {"large": 90, "small": 10}


@pytest.mark.parametrize("draw", ["per_row", "per_step"])
def test_a_dry_source_drops_out_and_the_others_share_its_part(draw: str) -> None:
    shares = {"a": share(2, rows=20, limit=40), "b": share(1), "c": share(1)}
    made = mixture(shares=shares, batch_rows=8, draw=draw)
    given = check_no_gap_and_no_repeat(made, 60)
    assert made.end is None and 40 - 8 < given["a"] <= 40
    dry = made.dried["a"]
    assert made.drawn(dry)["a"] == given["a"]
    assert abs(given["b"] - given["c"]) <= 8
    assert all("a" not in {name for name, _ in rows_of(made.batch(step))} for step in range(dry, dry + 8))


@pytest.mark.parametrize("draw", ["per_row", "per_step"])
def test_the_data_end_where_a_source_says_stop_or_all_are_dry(draw: str) -> None:
    stopping = mixture(shares={"a": share(1, limit=30, when_dry="stop"), "b": share(1)}, batch_rows=10, draw=draw)
    assert stopping.end is not None
    assert 20 < check_no_gap_and_no_repeat(stopping, stopping.end)["a"] <= 30
    with pytest.raises(AssertionError, match="end after"):
        stopping.batch(stopping.end)
    dropping = mixture(shares={"a": share(1, limit=30), "b": share(3, limit=50)}, batch_rows=10, draw=draw)
    assert dropping.end == 8 or draw == "per_row"
    assert dropping.end is not None
    given = check_no_gap_and_no_repeat(dropping, dropping.end)
    assert 80 - 10 * 2 < sum(given.values()) <= 80
    with pytest.raises(ConfigError, match="first batch"):
        mixture(shares={"a": share(1, limit=5)}, batch_rows=10)


def test_stages_change_the_weights_and_lose_nothing() -> None:
    stages = (Stage(10, {"a": 0, "c": 5}), Stage(20, {"b": 0}))
    made = mixture({"a": 1.0, "b": 1.0, "c": 0.5}, stages=stages, batch_rows=10)
    check_no_gap_and_no_repeat(made, 40)
    drawn = [made.drawn(step) for step in (0, 10, 20, 30)]
    parts = [
        {name: after[name] - before[name] for name in after}
        for before, after in zip(drawn[:-1], drawn[1:], strict=True)
    ]
    assert parts[0] == {"a": 40, "b": 40, "c": 20}
    assert parts[1]["a"] == 0 and abs(parts[1]["c"] - 83) <= 1
    assert parts[2]["b"] == 0 and abs(parts[2]["a"] - 67) <= 1


def test_ranks_read_the_shards_of_their_lanes_and_rows_of_every_small_source() -> None:
    shares = {"large": share(3, rows=4000, block_rows=100, lanes=8), "small": share(1)}
    made = mixture(shares=shares, batch_rows=64)
    for step in range(5):
        draws = made.batch(step)
        for rank in range(4):
            mine = draws.rows(slice(rank * 16, (rank + 1) * 16))
            lanes = shares["large"].order.lane(mine.position[mine.source == 0])
            assert np.isin(lanes, np.arange(2 * rank - 1, 2 * rank + 3)).all()
            assert 1 <= (mine.source == 1).sum() <= 9
