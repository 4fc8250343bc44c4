"""Where every row of a source went: delivered, quarantined, left out by a rollback, or not reached in its epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmcontrast.data.mixture import Mixture
from mmcontrast.data.quarantine import counts_in_words


@dataclass(frozen=True, kw_only=True)
class Account:
    """Rows of one source over the epochs that were begun."""

    source: str
    rows: int  # of one epoch: what the index counts, less what ``where`` leaves out
    epochs: int  # begun
    delivered: int  # in their own place
    quarantined: Mapping[str, int]  # by cause
    left_out: int  # in batches that rollbacks dropped
    tail: int  # of the last epoch, not reached

    @property
    def missing(self) -> int:
        """Rows that went nowhere: 0."""
        return self.rows * self.epochs - self.delivered - sum(self.quarantined.values()) - self.left_out - self.tail

    def in_words(self) -> str:
        """The account as a line."""
        parts = [f"{self.delivered:,} delivered", f"{sum(self.quarantined.values()):,} quarantined"]
        if self.quarantined:
            parts[-1] += f" ({counts_in_words(self.quarantined)})"
        if self.left_out:
            parts.append(f"{self.left_out:,} in batches that were dropped")
        parts.append(f"{self.tail:,} not reached")
        if self.missing:
            parts.append(f"{self.missing:,} UNACCOUNTED FOR")
        return f"source {self.source}: {self.epochs:,} epoch(s) of {self.rows:,} rows = {' + '.join(parts)}"


def accounts(
    mixture: Mixture, counts: Mapping[str, int], *, batch: int, dropped: Sequence[tuple[int, int]] = ()
) -> list[Account]:
    """The account of every source.

    Args:
        counts: of all ranks, ``delivered/SOURCE`` and ``quarantined/SOURCE/CAUSE``, as the loader counts them.
        batch: number of the next batch.
        dropped: first and last batch of each range that a rollback left out.
    """
    planned, left_out = mixture.drawn(batch), _drawn_within(mixture, dropped, batch)
    result = []
    for name in mixture.names:
        rows = mixture.shares[name].order.rows
        epochs = -(-planned[name] // rows)
        prefix = f"quarantined/{name}/"
        result.append(
            Account(
                source=name,
                rows=rows,
                epochs=epochs,
                delivered=counts.get(f"delivered/{name}", 0),
                quarantined={each.removeprefix(prefix): n for each, n in counts.items() if each.startswith(prefix)},
                left_out=left_out[name],
                tail=rows * epochs - planned[name],
            )
        )
    return result


def _drawn_within(mixture: Mixture, ranges: Sequence[tuple[int, int]], batch: int) -> Counter[str]:
    """Rows of each source in batches of any of the ranges, before ``batch``."""
    total: Counter[str] = Counter()
    reached = 0
    for first, last in sorted(ranges):
        first, end = max(first, reached), min(last + 1, batch)
        if first < end:
            before, after = mixture.drawn(first), mixture.drawn(end)
            total.update({name: after[name] - before[name] for name in mixture.names})
            reached = end
    return total
