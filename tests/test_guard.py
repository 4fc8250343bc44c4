"""A step that must not be kept is not kept, by the policy asked for, and a replay of the run agrees."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.checkpoint import load_model_state, newest
from mmcontrast.data.handover import Loaded
from mmcontrast.data.loader import Loader
from mmcontrast.errors import Diverged
from mmcontrast.guard import Guard, GuardConfig
from mmcontrast.journal import Entry, Journal
from mmcontrast.run import Run
from mmcontrast.train import Trained, train
from mmcontrast.types import Batch, Column, Terms
from tests.small_run import run_of


@contextmanager
def poisoned(monkeypatch: pytest.MonkeyPatch, *batches: int) -> Iterator[list[str]]:
    """Put a NaN into the first sound of these global batches; yields the keys of the rows that have it."""
    original, keys = Loader.__next__, []

    def poison(self: Loader) -> Loaded:
        number = self._next
        loaded = original(self)
        if number in batches:
            audio = loaded.batch.columns["audio"]
            audio.values[0, 7] = float("nan")
            key = loaded.batch.keys[int(audio.present.nonzero()[0])]
            keys.append(key)
        return loaded

    with monkeypatch.context() as patch:
        patch.setattr(Loader, "__next__", poison)
        yield keys


def guarded(sets: dict[str, str], out: Path, **guard: Any) -> Run:
    return run_of(sets, out, guard=guard, checkpoint={"every_steps": 2, "keep": 9})


def weights(done: Trained) -> dict[str, torch.Tensor]:
    return load_model_state(done.checkpoint)


def same(first: Trained, second: Trained) -> bool:
    expected = weights(second)
    return all(torch.equal(value, expected[name]) for name, value in weights(first).items())


def journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def test_raise_names_step_and_row_and_saves_nothing_of_it(
    sets: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with poisoned(monkeypatch, 5) as keys, pytest.raises(Diverged) as caught:
        train(guarded(sets, tmp_path / "run"))
    assert "step 5: loss nan" in str(caught.value)
    assert f"Rows with values that are not finite: {keys[0]}" in str(caught.value)
    found = newest(tmp_path / "run/checkpoints")
    assert found == tmp_path / "run/checkpoints/step-00000004"
    assert all(value.isfinite().all() for value in load_model_state(found).values())


def test_skip_leaves_weights_finite_and_notes_the_batch(
    sets: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with poisoned(monkeypatch, 3, 5) as keys:
        done = train(guarded(sets, tmp_path / "run", on_nonfinite="skip"))
    assert done.step == 8 and all(value.isfinite().all() for value in weights(done).values())
    assert [(line["action"], line["step"], line["first_batch"]) for line in journal(tmp_path / "run")] == [
        ("skip", 3, 3), ("skip", 5, 5)]  # fmt: skip
    assert [line["keys"] for line in journal(tmp_path / "run")] == [[key] for key in keys]


def test_a_replay_leaves_the_skipped_batch_out_even_if_it_is_sound_now(
    sets: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = guarded(sets, tmp_path / "run", on_nonfinite="skip")
    with poisoned(monkeypatch, 5):
        first = train(run)
    expected = weights(first)
    for step in (6, 8):  # a crash after step 5, and a memory error that does not come again
        shutil.rmtree(tmp_path / f"run/checkpoints/step-{step:08d}")
    again = train(run)
    assert all(torch.equal(value, expected[name]) for name, value in weights(again).items())


def test_skips_beyond_the_budget_raise(sets: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with poisoned(monkeypatch, 2, 3, 4), pytest.raises(Diverged, match=r"step 4: .*over guard.max_skips = 2"):
        train(guarded(sets, tmp_path / "run", on_nonfinite="skip", max_skips=2))


def test_rollback_drops_the_batches_for_good_and_replays_agree(
    sets: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = guarded(sets, tmp_path / "run", on_nonfinite="rollback", rollback_batches=1)
    with poisoned(monkeypatch, 5):
        first = train(run)
    assert first.step == 8
    (line,) = journal(tmp_path / "run")
    # Back to the checkpoint of step 4; batches 4 and 5, and one more, never train.
    assert (line["action"], line["step"], line["first_batch"], line["last_batch"]) == ("rollback", 5, 4, 6)
    expected = weights(first)
    # A crash that loses all but the checkpoint of step 2: the way from there crosses the dropped batches again.
    for step in (4, 6, 8):
        shutil.rmtree(tmp_path / f"run/checkpoints/step-{step:08d}")
    again = train(run)
    assert all(torch.equal(value, expected[name]) for name, value in weights(again).items())
    assert len(journal(tmp_path / "run")) == 1


def test_rollback_needs_a_checkpoint_and_has_a_budget(
    sets: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with poisoned(monkeypatch, 1), pytest.raises(Diverged, match="no checkpoint to go back to"):
        train(guarded(sets, tmp_path / "early", on_nonfinite="rollback"))
    with poisoned(monkeypatch, 5, 7), pytest.raises(Diverged, match="gone back 1 times, as often as it may"):
        train(guarded(sets, tmp_path / "often", on_nonfinite="rollback", max_rollbacks=1))


def test_a_rollback_can_go_further_back_than_the_newest_checkpoint(
    sets: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with poisoned(monkeypatch, 5):
        done = train(guarded(sets, tmp_path / "run", on_nonfinite="rollback", rollback_steps=2))
    (line,) = journal(tmp_path / "run")
    assert (line["first_batch"], line["last_batch"]) == (2, 5)
    assert (tmp_path / "run/checkpoints/.aside-step-00000004").is_dir() and done.step == 8


def terms(loss: float) -> Terms:
    return Terms(loss=torch.tensor(loss), scalars={})


def small_batch() -> Batch:
    return Batch({"text": Column.of("text", torch.ones(2, 3), torch.ones(2, dtype=torch.bool))}, {}, ["a", "b"])


def settled_guard(**fields: Any) -> Guard:
    """A guard that has seen forty losses about 1."""
    guard = Guard(GuardConfig(**fields))
    for step in range(40):
        guard.begin(left_out=False)
        assert guard.allows(terms(1.0 + 0.01 * (step % 5)))
        assert guard.judge(step, norm=1.0, applied=True, batch=small_batch()) is None
    return guard


def test_a_spike_is_refused_before_its_backward_and_not_remembered() -> None:
    guard = settled_guard(on_spike="skip")
    guard.begin(left_out=False)
    assert not guard.allows(terms(1.5))
    trouble = guard.judge(40, norm=float("nan"), applied=False, batch=small_batch())
    assert trouble is not None and trouble.action == "skip"
    assert "step 40: loss 1.5, 32.4 deviations above the median of 40 steps. First rows of its batch: a, b" in (
        trouble.message()
    )
    guard.begin(left_out=False)
    assert guard.allows(terms(1.05))


def test_spikes_are_ignored_by_default_and_while_few_losses_are_known() -> None:
    guard = settled_guard()
    guard.begin(left_out=False)
    assert guard.allows(terms(100.0))
    young = Guard(GuardConfig(on_spike="raise"))
    young.losses = [1.0] * 19
    young.begin(left_out=False)
    assert young.allows(terms(100.0))


def test_deviations_are_those_of_the_modified_z_score() -> None:
    guard = Guard(GuardConfig(window_steps=5))
    guard.losses = [1.0, 2.0, 3.0, 4.0, 100.0]  # median 3, median absolute deviation 1
    assert guard.deviations(6.0) == pytest.approx(0.6745 * 3)


def test_a_gradient_norm_that_is_not_finite_follows_the_policy() -> None:
    guard = settled_guard(on_nonfinite="raise")
    guard.begin(left_out=False)
    assert guard.allows(terms(1.0))
    with pytest.raises(Diverged, match="step 40: loss 1, gradient norm inf") as caught:
        guard.judge(40, norm=float("inf"), applied=False, batch=small_batch())
    assert caught.value.on_every_rank


def test_a_line_of_the_journal_that_was_cut_off_never_happened(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = Journal(path)
    first.add(Entry("rollback", 9, 4, 8, "why", ["a"]))
    first.add(Entry("rollback", 30, 20, 22, "why", ["a"]))
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    cut = Journal(path)
    assert len(cut.entries) == 1 and path.read_bytes() == whole[: len(path.read_bytes())]
    cut.add(Entry("rollback", 30, 20, 22, "why", ["a"]))
    assert path.read_bytes() == whole
    assert [Journal(path).next_batch(batch) for batch in (3, 4, 8, 9, 21)] == [3, 9, 9, 9, 23]
