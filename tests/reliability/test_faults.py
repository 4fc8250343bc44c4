"""After a fault a run goes on as if nothing had happened: the same rows, the same losses to the last digit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures import make_set
from tests.reliability.built_in import FAULTS
from tests.reliability.kinds import IN_CI, KINDS, Faults
from tests.reliability.ranks import Done, Start, difference, run_ranks
from tests.small_run import run_of


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    return Faults(tmp_path_factory.mktemp("faults"))


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_CI)
def test_rows_and_losses_after_a_fault_are_those_without_it(name: str, faults: Faults) -> None:
    assert faults.survived(name, seed=0) is None


@pytest.mark.slow
def test_ranks_that_do_not_end_are_ended_with_their_stacks(tmp_path: Path) -> None:
    sets = {
        "pictures": make_set(tmp_path / "pictures", columns=("image", "text"), rows=32),
        "sounds": make_set(tmp_path / "sounds", columns=("audio", "text"), rows=20),
    }
    with pytest.raises(RuntimeError) as raised:
        run_ranks(run_of(sets, tmp_path / "run", engine={"type": "ddp"}), Start("hung", 2), seconds=15)
    said = str(raised.value)
    assert "2 rank(s) still ran after 15 s" in said
    assert said.count("most recent call first") >= 2 and "built_in.py" in said


def test_every_kind_is_one_that_can_be_built_in() -> None:
    assert len(KINDS) >= 20 and len(IN_CI) == 8 and set(IN_CI) <= set(KINDS)
    assert {stage.fault for kind in KINDS.values() for stage in kind.stages} <= set(FAULTS)
    assert {kind.beside for kind in KINDS.values()} <= set(FAULTS)


def test_another_row_another_digit_or_a_lost_step_is_found() -> None:
    whole = Done({0: ["a", "b"], 1: ["c", "d"]}, {1: "0.5", 2: "0.25"})
    assert difference(whole, whole) is None
    assert difference(Done({**whole.rows, 1: ["d", "c"]}, whole.losses), whole) == (
        "rows of step 1: ['d', 'c'] instead of ['c', 'd']"
    )
    assert "losses of step 2" in str(difference(Done(whole.rows, {1: "0.5", 2: "0.25000000000000006"}), whole))
    assert "steps [2] are in one run only" in str(difference(Done(whole.rows, {1: "0.5"}), whole))
