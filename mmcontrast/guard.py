"""What a run does about a loss or gradient norm that is not finite, or a loss that jumps.

A batch is judged before its backward (the loss) and after its update (the gradient norm; engines leave the weights
alone when it is not finite).  Every rank judges the same numbers, so all of them act alike.
"""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass
from typing import Any, Literal

from mmcontrast import comm
from mmcontrast.config import Count, NonNegativeCount, Positive, config
from mmcontrast.errors import Diverged
from mmcontrast.types import Batch, Terms

Action = Literal["raise", "skip", "rollback"]
MAX_KEYS = 8  # rows named in a message


@config
class GuardConfig:
    """Policies for a step that must not be kept."""

    on_nonfinite: Action = "raise"  # loss or gradient norm that is not finite
    on_spike: Literal["ignore", "raise", "skip", "rollback"] = "ignore"  # loss far above the recent ones
    spike_deviations: Positive = 6.0  # a spike is so many deviations above the median of the window
    window_steps: Count = 100  # losses that are remembered; spikes are judged from a fifth of them on
    max_skips: Count = 5  # skipped steps among the last window_steps; one more raises
    max_rollbacks: Count = 3  # in one run; one more raises
    rollback_steps: NonNegativeCount = 0  # go back to a checkpoint at least so many steps before the bad one
    rollback_batches: NonNegativeCount = 0  # batches dropped after the bad one, beside those back to the checkpoint


@dataclass(frozen=True)
class Trouble:
    """A step that is not kept."""

    action: Action
    reason: str  # one line: step, numbers
    keys: list[str]  # rows whose values are not finite, or else the first ones of the batch
    found: bool  # which of the two

    def message(self) -> str:
        """Return the reason and the rows."""
        which = "Rows with values that are not finite" if self.found else "First rows of its batch"
        return f"{self.reason}. {which}: {', '.join(self.keys)}"


class Guard:
    """Judges every step; remembers recent losses and skipped steps."""

    def __init__(self, config: GuardConfig, *, limit: float | None = None) -> None:
        """Start with nothing seen.

        Args:
            limit: a loss above it counts as not finite.
        """
        self.config, self.limit = config, limit
        self.losses: list[float] = []
        self.skips: list[int] = []  # steps
        self._loss = math.nan  # of the step under way: the mean over ranks
        self._verdict: str | None = None
        self._left_out = False

    def begin(self, *, left_out: bool) -> None:
        """Begin a step.

        Args:
            left_out: the journal says that this batch's update was left out; it is again.
        """
        self._verdict, self._left_out = None, left_out

    @property
    def allowed(self) -> bool:
        """Whether the step under way may be applied, as far as its loss tells."""
        return self._verdict is None

    def allows(self, terms: Terms) -> bool:
        """Judge the loss before its backward; False: leave the step out.  Collective."""
        self._loss = float(comm.all_mean(terms.loss))
        if self._left_out:
            self._verdict = "left out before"
        elif not math.isfinite(self._loss) or (self.limit is not None and self._loss > self.limit):
            self._verdict = "nonfinite"
        elif self.config.on_spike != "ignore" and self.deviations(self._loss) > self.config.spike_deviations:
            self._verdict = "spike"
        return self.allowed

    def judge(self, step: int, *, norm: float, applied: bool, batch: Batch) -> Trouble | None:
        """Return what is wrong with the step that was just made, the same on every rank.

        Args:
            norm: gradient norm over all ranks; it says nothing when :meth:`allows` refused the step.
            applied: False: the engine refused the update, for gradients that are not finite.
            batch: this rank's rows.

        Raises:
            Diverged: by policy, or because a budget is used up.
        """
        verdict = self._verdict
        if verdict is None and not applied:
            verdict = "nonfinite"
        if verdict is None:
            self.losses = [*self.losses, self._loss][-self.config.window_steps :]
            return None
        reason = f"step {step}: loss {self._loss:g}" + (f", gradient norm {norm:g}" if self.allowed else "")
        if verdict == "spike":
            reason += f", {self.deviations(self._loss):.1f} deviations above the median of {len(self.losses)} steps"
        actions: dict[str, Any] = {
            "nonfinite": self.config.on_nonfinite,
            "spike": self.config.on_spike,
            "left out before": "skip",
        }
        keys, found = named_rows(batch)
        trouble = Trouble(actions[verdict], reason, keys, found)
        if trouble.action == "raise":
            raise agreed(f"{trouble.message()}. Nothing of this step was kept; the newest checkpoint is before it.")
        if trouble.action == "skip":
            self._count_skip(step, trouble)
        return trouble

    def deviations(self, loss: float) -> float:
        """Distance of a loss above the median of recent ones, in robust standard deviations.

        Source: the modified z-score, Iglewicz and Hoaglin 1993, with the median absolute deviation.
        """
        if len(self.losses) < max(2, self.config.window_steps // 5):
            return 0.0
        median = statistics.median(self.losses)
        spread = statistics.median(abs(each - median) for each in self.losses) / 0.6745
        return (loss - median) / max(spread, 1e-3 * abs(median), 1e-8)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold so that a replay judges alike."""
        return {"losses": self.losses, "skips": self.skips}

    def load_state(self, state: dict[str, Any]) -> None:
        """Put a :meth:`state` back."""
        self.losses, self.skips = list(state["losses"]), list(state["skips"])

    def _count_skip(self, step: int, trouble: Trouble) -> None:
        self.skips = [each for each in self.skips if each > step - self.config.window_steps] + [step]
        if len(self.skips) > self.config.max_skips:
            raise agreed(
                f"{trouble.message()}. That is skip {len(self.skips)} within {self.config.window_steps} steps, over "
                f"guard.max_skips = {self.config.max_skips}. Nothing of these steps was kept."
            )


def agreed(message: str) -> Diverged:
    """The error that every rank raises at the same step."""
    error = Diverged(message)
    error.on_every_rank = True
    return error


def named_rows(batch: Batch) -> tuple[list[str], bool]:
    """Return keys of all ranks' rows that hold a value that is not finite, else of the first rows.  Collective."""
    bad: set[int] = set()
    for column in batch.columns.values():
        rows = column.present.nonzero().squeeze(1).tolist()
        values = column.values.values() if isinstance(column.values, dict) else [column.values]
        for value in values:
            if value.is_floating_point() and len(value):
                finite = value.flatten(1).isfinite().all(dim=1).tolist()
                bad |= {row for row, fine in zip(rows, finite, strict=True) if not fine}
    mine = [[batch.keys[row] for row in sorted(bad)[:MAX_KEYS]], batch.keys[:MAX_KEYS]]
    ranks = [json.loads(each) for each in comm.gather_bytes(json.dumps(mine).encode())]
    suspects = [key for found, _ in ranks for key in found]
    return (suspects or [key for _, first in ranks for key in first])[:MAX_KEYS], bool(suspects)
