"""The batches that a run left out, on disk before the run acts on it, so that every replay leaves them out too.

``journal.jsonl`` holds one line a decision.  A rollback drops a range of batches for good: whichever checkpoint a run
later starts from, these are passed over.  A skipped step is noted as well; its replay computes it and drops the update
again, so that random states agree.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from mmcontrast import comm


@dataclass(frozen=True)
class Entry:
    """One decision."""

    action: str  # skip | rollback
    step: int  # updates done when it was made
    first_batch: int  # first global batch left out
    last_batch: int  # last one, inclusive
    reason: str
    keys: list[str]


class Journal:
    """The run's decisions, the same on every rank; rank 0 writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        content = path.read_bytes() if comm.rank() == 0 and path.is_file() else b""
        lines = comm.gather_bytes(content)[0].decode("utf-8").split("\n")
        # What follows the last newline was cut off in writing: that decision was never acted on.
        self.entries = [Entry(**json.loads(line)) for line in lines[:-1]]
        if comm.rank() == 0 and lines[-1]:
            path.write_bytes(content[: len(content) - len(lines[-1].encode("utf-8"))])

    def add(self, entry: Entry) -> None:
        """Write a decision down; it is on the disk when this returns."""
        if entry in self.entries:  # a replay came to the same decision
            return
        self.entries.append(entry)
        if comm.rank() == 0:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(entry)) + "\n")
                stream.flush()
                os.fsync(stream.fileno())

    def skips(self, batch: int) -> bool:
        """Whether the batch's update was left out before."""
        return any(each.action == "skip" and each.first_batch == batch for each in self.entries)

    def next_batch(self, batch: int) -> int:
        """Return the first batch from ``batch`` on that no rollback dropped."""
        for each in sorted(self.rollbacks, key=lambda entry: entry.first_batch):
            if each.first_batch <= batch <= each.last_batch:
                batch = each.last_batch + 1
        return batch

    @property
    def rollbacks(self) -> list[Entry]:
        """The decisions that went back to a checkpoint."""
        return [each for each in self.entries if each.action == "rollback"]
