"""The rows of a run do not know how often it was killed, nor on how many ranks and workers it went on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmcontrast.data.mixture import Draws
from tests.reliability.histories import STEPS, history, mixtures, real, simulated


def test_simulated_histories_have_the_rows_of_a_run_that_nobody_interrupts() -> None:
    assert simulated(30) == 0


def test_a_rank_that_takes_other_rows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def interleaved(self: Draws, *, rank: int, world_size: int) -> Draws:
        return self.rows(slice(rank, None, world_size))

    monkeypatch.setattr(Draws, "share", interleaved)
    assert simulated(12) > 6


def test_histories_are_of_many_kinds() -> None:
    import random

    draw = random.Random(0)
    drawn = [
        history(draw, steps=STEPS, every=4, world_sizes=(1, 2, 4), most_workers=3, most_kills=4) for _ in range(50)
    ]
    assert len({part.world_size for parts in drawn for part in parts}) == 3
    assert len({part.workers for parts in drawn for part in parts}) == 4
    assert len({len(parts) for parts in drawn}) == 4
    for parts in drawn:
        assert parts[0].first == 0 and parts[-1].stop == STEPS
        assert all(after.first <= before.stop for before, after in zip(parts, parts[1:], strict=False))
    rows = mixtures()[0]().batch(0)
    assert np.array_equal(
        np.concatenate([rows.share(rank=rank, world_size=4).position for rank in range(4)]), rows.position
    )


@pytest.mark.slow
def test_a_training_run_killed_and_resumed_on_other_numbers_of_ranks_reads_the_same_rows(tmp_path: Path) -> None:
    assert real(tmp_path, 1) == []
