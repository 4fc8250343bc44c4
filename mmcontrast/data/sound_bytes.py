"""A sound's bytes as a file for libsndfile."""

from __future__ import annotations

import io


class SoundBytes(io.BytesIO):
    """Stays where it is when a damaged header asks for a place before the first byte.

    libsndfile then finds the damage by itself.  It asks through a C callback, out of which no exception can come:
    the interpreter would print it with a traceback.
    """

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, if there is one."""
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()
