"""Reads a file by position through aligned windows, hashing it on the way.

Nothing is mapped into memory: a file that another process cuts short gives a short read, never a bus error.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

WINDOW_BYTES = 4 << 20
HEADERS_ONLY = 4 << 10  # window for jumping from header to header
FIRST_CHUNK = 16 << 10


class BlockReader:
    """One open file: ``at`` for small pieces, ``chunks`` for long ones, ``sha256`` of the whole."""

    def __init__(self, path: Path, *, hashed: bool = False, window_bytes: int = WINDOW_BYTES) -> None:
        """Open the file.

        Args:
            hashed: keep a sha256 of all that is read.
            window_bytes: read at once; a multiple of 512.

        Raises:
            OSError: it cannot be opened.
        """
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self.size = os.fstat(self._descriptor).st_size
        self._window_bytes = window_bytes
        self._digest = hashlib.sha256() if hashed else None
        self._digested = 0
        self._start, self._window = 0, b""

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def __enter__(self) -> BlockReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def at(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes: fewer only at the file's end."""
        return b"".join(self.chunks(offset, size))

    def chunks(self, offset: int, size: int) -> Iterator[bytes]:
        """Yield the bytes from ``offset`` on, in growing pieces that end at multiples of 512."""
        end, step = min(offset + size, self.size), FIRST_CHUNK
        while offset < end:
            window, start = self._load(offset), self._start
            piece = window[offset - start : min(end, offset - offset % 512 + step) - start]
            step *= 2
            if not piece:  # the file has become shorter since it was opened
                return
            yield piece
            offset += len(piece)

    def sha256(self) -> str:
        """Digest of the whole file, as hex.  What was read already is not read again."""
        assert self._digest is not None, "opened without hashed=True"
        while self._digested < self.size:
            before = self._digested
            self._load(self._digested)
            if self._digested == before:
                break
        return self._digest.hexdigest()

    def _load(self, offset: int) -> bytes:
        start = offset - offset % self._window_bytes
        if start == self._start and self._window:
            return self._window
        if self._digest is not None:
            while self._digested < start:  # a long member was jumped over: the digest needs its bytes all the same
                content = os.pread(self._descriptor, self._window_bytes, self._digested)
                if not content:
                    break
                self._feed(self._digested, content)
        self._start, self._window = start, os.pread(self._descriptor, self._window_bytes, start)
        self._feed(start, self._window)
        return self._window

    def _feed(self, start: int, content: bytes) -> None:
        if self._digest is not None and start == self._digested:
            self._digest.update(content)
            self._digested += len(content)
