"""Mixtures: exact shares at every step, any step at once, nothing but the arguments matters."""

from __future__ import annotations

from collections import Counter

import pytest

from mmcontrast.data.mixture import Mixture

WEIGHTS = {"a": 0.6, "b": 0.3, "c": 0.1}


@pytest.mark.parametrize("draw", ["per_row", "per_step"])
def test_positions_of_each_source_run_without_gap_or_repeat(draw: str) -> None:
    mixture = Mixture(WEIGHTS, batch_rows=7, draw=draw, seed=1)  # type: ignore[arg-type]
    seen: dict[str, list[int]] = {name: [] for name in WEIGHTS}
    for step in range(50):
        places = mixture.batch(step)
        assert len(places) == 7
        for place in places:
            seen[place.source].append(place.position)
    for name, positions in seen.items():
        assert sorted(positions) == list(range(len(positions))), name


def test_shares_are_within_one_draw_of_exact_at_every_step() -> None:
    mixture = Mixture(WEIGHTS, batch_rows=7, draw="per_row", seed=1)
    for step in (1, 10, 1_000, 10**9):
        count = 7 * step
        assert sum(mixture.drawn(name, count) for name in WEIGHTS) == count
        for name, weight in WEIGHTS.items():
            assert abs(mixture.drawn(name, count) - weight * count) <= 1


def test_a_step_homogeneous_batch_has_one_source_and_shares_hold_over_steps() -> None:
    mixture = Mixture(WEIGHTS, batch_rows=4, draw="per_step", seed=2)
    sources = Counter()
    for step in range(100):
        (name,) = {place.source for place in mixture.batch(step)}
        sources[name] += 1
    assert sources == {"a": 60, "b": 30, "c": 10}


def test_any_step_is_found_at_once_and_the_seed_changes_only_the_order() -> None:
    first, again = (Mixture(WEIGHTS, batch_rows=8, draw="per_row", seed=3) for _ in range(2))
    other = Mixture(WEIGHTS, batch_rows=8, draw="per_row", seed=4)
    assert first.batch(10**8) == again.batch(10**8)
    assert first.batch(5) != other.batch(5)
    assert sorted(map(str, first.batch(5))) == sorted(map(str, other.batch(5)))
