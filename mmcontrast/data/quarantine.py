"""Bad rows of a run: written to ``quarantine.jsonl``, and counted against budgets that stop a run on rubble.

A bad row is replaced by the loader; here is what is known of it afterwards.  The log is in the order of the batches,
whatever ranks and workers found the rows, and a resumed run writes no row twice.
"""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mmcontrast import comm
from mmcontrast.config import Count, Fraction, config
from mmcontrast.errors import BadSamples, RunFolderError

LOG_NAME = "quarantine.jsonl"
DETAIL_CHARACTERS = 500


@config
class QuarantineConfig:
    """How many bad rows a run bears, source by source."""

    max_fraction: Fraction = 0.02  # more than this share of a source's last window_rows rows stops the run
    window_rows: Count = 10_000  # rows of a source that the share is of; fewer until so many are drawn
    grace_rows: Count = 10  # so many bad rows in the window are borne whatever their share
    max_consecutive: Count = 100  # more bad rows of a source one after the other stop the run


@dataclass(frozen=True, kw_only=True)
class BadRow:
    """One row that could not be used, and where it should have been."""

    batch: int  # number of the global batch: the step, unless a rollback dropped batches
    row: int  # of the global batch
    attempt: int  # 0: the row itself; n: the n-th row that should have replaced it
    source: str
    epoch: int
    position: int  # in the source's line
    shard: str
    key: str
    cause: str
    detail: str
    lasting: bool  # the content is bad; False: it could not be read this time
    replaced_by: str | None = None  # key of the row in its place; None: none was found

    @property
    def identity(self) -> tuple[int, int, int, str]:
        """What makes it one row of the log: a replay of the same batch finds the same."""
        return self.batch, self.row, self.attempt, self.key

    def short(self) -> BadRow:
        """The row with a detail of bounded length."""
        return replace(self, detail=self.detail[:DETAIL_CHARACTERS])


class Budgets:
    """Judges the bad rows of each source; a pure function of their positions in the source's line."""

    def __init__(self, settings: QuarantineConfig) -> None:
        self.settings = settings
        self._recent: dict[str, deque[int]] = {}  # source -> positions of bad rows within the window
        self._run: dict[str, int] = {}  # source -> bad rows one after the other, up to the last one

    def add(self, source: str, position: int) -> str | None:
        """Count one bad row, in the order of the line; return what is exceeded, in words."""
        recent = self._recent.setdefault(source, deque())
        follows = bool(recent) and position == recent[-1] + 1
        self._run[source] = self._run.get(source, 0) + 1 if follows else 1
        recent.append(position)
        while recent[0] <= position - self.settings.window_rows:
            recent.popleft()
        if self._run[source] > self.settings.max_consecutive:
            return (
                f"source '{source}': {self._run[source]:,} bad rows one after the other, over "
                f"data.quarantine.max_consecutive = {self.settings.max_consecutive:,}"
            )
        drawn = min(position + 1, self.settings.window_rows)
        if len(recent) > max(self.settings.grace_rows, self.settings.max_fraction * drawn):
            return (
                f"source '{source}': {len(recent):,} of its last {drawn:,} rows were bad, over "
                f"data.quarantine.max_fraction = {self.settings.max_fraction:.1%}"
            )
        return None


class Quarantine:
    """The log of one run, the same on every rank; rank 0 writes.  Every method but ``emergency`` is collective."""

    def __init__(self, folder: Path, settings: QuarantineConfig) -> None:
        """Use the run folder's log; :meth:`resume` takes up what is in it."""
        self.path, self.settings = folder / LOG_NAME, settings
        self.budgets = Budgets(settings)
        self._written: set[tuple[int, int, int, str]] = set()  # of batches that are replayed; rank 0 alone

    def resume(self, batch: int) -> set[tuple[str, int]]:
        """Go to a batch: rows of later ones that are in the log are not written again.

        Returns:
            (source, position) of rows after it that could not be read though their content may be good: a replay
            must replace them again.
        """
        self._written, self.budgets = set(), Budgets(self.settings)
        earlier: list[tuple[str, int]] = []
        unread: list[tuple[str, int]] = []
        if comm.rank() == 0:
            _cut_last_line(self.path)
            for row in read_log(self.path):
                place = (row.source, row.position)
                if row.batch >= batch:
                    self._written.add(row.identity)
                    if not row.lasting:
                        unread.append(place)
                elif row.attempt == 0:
                    earlier.append(place)
        earlier, unread = comm.from_first((earlier, unread))
        for source, position in sorted(earlier, key=lambda place: place[1]):
            self.budgets.add(source, position)
        return {(source, position) for source, position in unread}

    def add(self, mine: list[BadRow]) -> list[BadRow]:
        """Write the bad rows that the ranks found since the last call; return those that were new, on rank 0.

        Raises:
            BadSamples: a budget is exceeded; names the causes and the log.
        """
        parts = comm.gather_bytes(json.dumps([asdict(row.short()) for row in mine]).encode())
        rows = sorted((BadRow(**row) for part in parts for row in json.loads(part)), key=lambda row: row.identity)
        new = [row for row in rows if row.identity not in self._written]
        with comm.together():
            if comm.rank() == 0 and new:
                _append(self.path, new)
        exceeded = None
        for row in sorted((row for row in rows if row.attempt == 0), key=lambda row: (row.batch, row.position)):
            exceeded = exceeded or self.budgets.add(row.source, row.position)
        if exceeded is not None:
            error = BadSamples(f"{exceeded}.\n{self._report()}")
            error.on_every_rank = True
            raise error
        return new

    def emergency(self, rows: list[BadRow]) -> str:
        """Write rows from one rank alone, before it gives up; return the report for its message."""
        _append(self.path, [row.short() for row in rows])
        return self._report()

    def _report(self) -> str:
        """The commonest causes of the whole log, with an example of each, and what to do."""
        lines = [f"All bad rows are in '{self.path}':"]
        if comm.rank() == 0:
            counts: Counter[tuple[str, str]] = Counter()
            examples: dict[tuple[str, str], str] = {}
            for row in read_log(self.path):
                counts[row.source, row.cause] += 1
                examples.setdefault((row.source, row.cause), row.detail)
            for (source, cause), count in counts.most_common(8):
                lines.append(f"  {count:,} x {cause} in source '{source}', such as: {examples[source, cause]}")
        lines.append(
            "Mend the source ('mmcontrast data verify' lists every bad row), leave it out, or raise the budget; then "
            "the same command goes on."
        )
        return "\n".join(lines)


def read_log(path: Path) -> Iterator[BadRow]:
    """Yield the rows of a quarantine log; a last line that was cut off in writing is passed over."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if line.endswith("\n"):
                yield BadRow(**json.loads(line))


def counts_in_words(counts: Mapping[str, int]) -> str:
    """``{"pictures/crc32": 3}`` as words, the commonest first."""
    return ", ".join(f"{name} {count:,}" for name, count in Counter(counts).most_common()) or "none"


def _append(path: Path, rows: list[BadRow]) -> None:
    content = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
    try:
        # Unbuffered: whole lines in one write, even if ranks that give up write at the same time.
        with path.open("ab", buffering=0) as stream:
            view = memoryview(content.encode())
            while view:
                view = view[stream.write(view) :]
            os.fsync(stream.fileno())
    except OSError as error:
        raise RunFolderError(
            f"'{path}' cannot be written: {error.strerror}. No bad row may go unnamed, so the run ends here; "
            "the same command goes on."
        ) from error


def _cut_last_line(path: Path) -> None:
    """Remove what follows the last newline: it was cut off in writing, and its row will be found again."""
    if not path.is_file():
        return
    with path.open("rb+") as stream:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, end - (1 << 16)))
        tail = stream.read()
        if not tail.endswith(b"\n"):
            stream.truncate(end - len(tail) + tail.rfind(b"\n") + 1)
