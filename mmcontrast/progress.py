"""All that a step changes and a checkpoint holds: taken up from the newest valid checkpoint, and saved whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from mmcontrast import comm
from mmcontrast.checkpoint import Clock
from mmcontrast.checkpoint.writer import Checkpoints
from mmcontrast.data.handover import Loaded
from mmcontrast.data.loader import Loader
from mmcontrast.data.quarantine import Quarantine
from mmcontrast.engines.base import Engine
from mmcontrast.errors import BadSamples
from mmcontrast.evals import PREFIX
from mmcontrast.guard import Guard, Trouble, agreed
from mmcontrast.journal import Entry, Journal
from mmcontrast.logs import Log
from mmcontrast.randomness import restore_all, seed_all
from mmcontrast.run import Run
from mmcontrast.run_folder import describe, versions

EXAMPLES = 3  # bad rows of each source and cause that the console names; the log names all


class Progress:
    """Where a run is, and the way back and forth between memory and checkpoints.  Every method is collective."""

    def __init__(self, run: Run, *, engine: Engine, loader: Loader, log: Log, checkpoints: Checkpoints) -> None:
        self.run, self.engine, self.loader, self.log, self.checkpoints = run, engine, loader, log, checkpoints
        self.clock = Clock()
        self.guard = Guard(run.guard, limit=run.spike_limit)
        self.journal = Journal(run.out / "journal.jsonl")
        self.quarantine = Quarantine(run.out, run.data.quarantine)
        self._said_of: Counter[tuple[str, str]] = Counter()  # (source, cause) -> bad rows named on the console
        self.metrics: dict[str, float] = {}  # the last row of metrics.jsonl, without evaluations
        self.evaluated: dict[str, float] = {}  # numbers of the weights as they are now, if this step was evaluated
        self._about = describe(run)

    @property
    def planned(self) -> int:
        """Steps that the config asks for and the data has."""
        end = self.loader.end
        return self.run.steps if end is None else min(self.run.steps, end)

    @property
    def last(self) -> int:
        """Step after which the run ends: data that rollbacks dropped is missing at the end."""
        clock, end = self.clock, self.loader.end
        return self.run.steps if end is None else min(self.run.steps, clock.step + end - clock.batch)

    def resume(self, *, before: int | None = None) -> bool:
        """Go to the newest valid checkpoint, of at most ``before`` updates; False when there is none."""
        saved = self.checkpoints.resume(before=before)
        if saved is not None:
            self.engine.load_model_state(saved.model)
            self.engine.load_training_state(saved.optimizer)
            self.guard.load_state(saved.about["guard"])
            metrics = saved.about["metrics"]
            self.metrics = {name: value for name, value in metrics.items() if not name.startswith(PREFIX)}
            self.evaluated, self.clock = {}, saved.clock
            if len(saved.ranks) == comm.world_size():
                mine = saved.ranks[comm.rank()]
                restore_all(mine["random"])
            else:  # none of these ranks has a past: new draws, a function of seed, step and rank
                seed_all(self.run.seed + 7919 * (1 + self.clock.step), comm.rank())
                self.log.say(
                    f"the checkpoint is of {len(saved.ranks)} rank(s), this run has {comm.world_size()}: "
                    "the samples of each step stay the same, dropout is drawn anew"
                )
            written = saved.about.get("versions", {})
            for name, now in versions().items():
                if name in written and written[name] != now:
                    self.log.say(
                        f"the checkpoint was written with {name} {written[name]}, this run has {now}: "
                        "it goes on, but not bit for bit"
                    )
            self.loader.load_counts([each["loader"] for each in saved.ranks])
        self.clock.batch = self.journal.next_batch(self.clock.batch)
        self.loader.remember(self.quarantine.resume(self.clock.batch))
        self._seek(self.clock.batch)
        return saved is not None

    @property
    def epochs(self) -> float:
        """Passes so far over the source of most rows."""
        return self.loader.epochs(self.clock.batch)

    def due(self) -> bool:
        """Whether a checkpoint is due: by the step, or because the metric of the best ones was measured."""
        best = self.run.checkpoint.keep_best > 0 and self.run.checkpoint.best_metric in self.evaluated
        return self.checkpoints.due(self.clock.step) or (best and self.checkpoints.saved_step != self.clock.step)

    def next_batch(self) -> Loaded:
        """The next batch of this rank.  Not collective.

        Raises:
            BadSamples: a row of it is bad, and so is all that would replace it; the log names them.
        """
        try:
            return next(self.loader)
        except BadSamples as error:
            raise BadSamples(f"{error}\n{self.quarantine.emergency(self.loader.take_bad())}") from error

    def quarantine_rows(self) -> None:
        """Write down the bad rows that were found since the last call.

        Raises:
            BadSamples: there were too many.
        """
        for row in self.quarantine.add(self.loader.take_bad()):
            self._said_of[row.source, row.cause] += 1
            if self._said_of[row.source, row.cause] <= EXAMPLES:
                self.log.say(f"quarantined: {row.detail}")

    def save(self) -> None:
        """Begin to write a checkpoint."""
        self.checkpoints.take(self.clock, self.engine, loader=self.loader.counts(), about=self._said())

    def finish(self) -> Path:
        """Make sure that the last state is on the disk; return its folder."""
        self.quarantine_rows()
        path = self.checkpoints.finish(self.clock, self.engine, loader=self.loader.counts(), about=self._said())
        for account in self.loader.accounts([(each.first_batch, each.last_batch) for each in self.journal.rollbacks]):
            self.log.say(account.in_words())
        if self.quarantine.path.is_file():
            self.log.say(f"quarantined rows, each with its cause: {self.quarantine.path}")
        return path

    def average(self) -> None:
        """Move the average of the weights, if the config asks for one and this step is due."""
        keep = None if self.run.ema is None else self.run.ema.keep(self.clock.step)
        if keep is not None:
            self.engine.average(keep=keep)

    def advance(self, rows: int, seconds: float) -> None:
        """Count one step: the next batch is the one after it that no rollback dropped."""
        self.evaluated = {}
        self.clock.step += 1
        self.clock.rows += rows
        self.clock.seconds += seconds
        following = self.clock.batch + 1
        self.clock.batch = self.journal.next_batch(following)
        if self.clock.batch != following:
            self._seek(self.clock.batch)

    def stats(self) -> dict[str, float]:
        """Rows and seconds so far, epochs, damaged rows, and what checkpoints cost."""
        sizes = {"rows": self.clock.rows, "batch_rows": self.run.data.batch_rows, "seconds": self.clock.seconds}
        return {**sizes, **self.loader.stats(), **self.checkpoints.stats()}

    def leave_out(self, trouble: Trouble) -> None:
        """Act on a step that is not kept: note it, and go back to a checkpoint where the policy says so.

        Raises:
            Diverged: nothing to go back to, or too many rollbacks.
        """
        step, batch = self.clock.step, self.clock.batch
        if trouble.action == "skip":
            self.journal.add(Entry("skip", step, batch, batch, trouble.reason, trouble.keys))
            self.log.say(f"skipped: {trouble.message()}")
            return
        budget = self.run.guard.max_rollbacks
        if len(self.journal.rollbacks) >= budget:
            raise agreed(f"{trouble.message()}. The run has gone back {budget} times, as often as it may.")
        if not self.resume(before=step - self.run.guard.rollback_steps):
            raise agreed(f"{trouble.message()}. There is no checkpoint to go back to.")
        first, last = self.clock.batch, batch + self.run.guard.rollback_batches
        self.journal.add(Entry("rollback", step, first, last, trouble.reason, trouble.keys))
        self._seek(first)
        self.log.say(
            f"went back to step {self.clock.step}: {trouble.message()}. "
            f"Batches {first} to {last} are dropped for good."
        )

    def _seek(self, batch: int) -> None:
        self.clock.batch = self.journal.next_batch(batch)
        self.loader.seek(self.clock.batch, last=self.clock.batch + self.last - self.clock.step)

    def _said(self) -> dict[str, Any]:
        return {**self._about, "metrics": {**self.metrics, **self.evaluated}, "guard": self.guard.state()}
