"""Signals that ask a run to stop at the next step boundary."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

# 75 is EX_TEMPFAIL: stopped on request, saved, to be started again.  130 is what a shell shows for ctrl-C.
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 75, signal.SIGUSR1: 75}


class StopSignal:
    """Remembers the first signal; the second ctrl-C ends the process at once."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignal:
        for each in EXIT_CODES:
            self._before[each] = signal.signal(each, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)  # type: ignore[arg-type]

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or signal.Signals(number)

    @property
    def name(self) -> str:
        """Name of the signal; another rank's when this one received none."""
        return self.received.name if self.received is not None else "a signal to another rank"

    @property
    def exit_code(self) -> int:
        """What the process should end with."""
        return EXIT_CODES.get(self.received, 75) if self.received is not None else 75

    @property
    def asked(self) -> bool:
        """Whether this rank has received a signal; ranks must agree before they act on it."""
        return self.received is not None
