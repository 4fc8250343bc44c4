"""Remote files through fsspec: fetched whole into a bounded cache, checked, and only then visible under their name.

Several processes may share a cache: each file is fetched once, under a lock.  A deleted file that another process
still has open stays readable for it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from mmcontrast.data.manifest import is_url
from mmcontrast.data.storage import Storage
from mmcontrast.errors import ConfigError, MissingPackage, MMContrastError, ShardError

CHUNK_BYTES = 4 << 20
PASSING = (408, 425, 429)  # what a server answers that is busy; beside those from 500 on
T = TypeVar("T")


def check_url(url: str, storage: Storage) -> str:
    """Return the URL's scheme.

    Raises:
        ConfigError: it is not among the allowed ones, or the URL chains several.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in storage.schemes or "::" in url:
        raise ConfigError(
            f"'{url}' may not be opened: its scheme is not one of {', '.join(storage.schemes)}. "
            "Add it to data.storage.schemes if you trust it. Commands (pipe:) are never run."
        )
    return scheme


def join_url(base: str, name: str) -> str:
    """The URL of a file beside ``base``, or ``name`` itself where it is one."""
    return name if is_url(name) else f"{base.rpartition('/')[0]}/{name}"


def retried(
    storage: Storage, what: str, attempt: Callable[[], T], *, sleep: Callable[[float], None] = time.sleep
) -> T:
    """Call ``attempt`` until it succeeds, with growing pauses.

    Raises:
        ShardError: every try failed, or the file is not there; names the last error.
    """
    for number in range(storage.retries + 1):
        try:
            return attempt()
        except MMContrastError:
            raise
        except ImportError as error:
            raise MissingPackage(f"{what}: {error}. Install it with: pip install 'mmcontrast[remote]'") from error
        except Exception as error:  # each backend has exceptions of its own
            failure = _passing_failure(error)
            if failure is None:  # a further try would say the same
                raise ShardError(f"{what}: {type(error).__name__}: {error}") from error
            if number == storage.retries:
                raise ShardError(
                    f"{what}: failed {number + 1} times. The last: {type(failure).__name__}: {failure}"
                ) from error
            sleep(storage.backoff_seconds * 2**number)
    raise AssertionError("the loop returns or raises")


def _passing_failure(error: Exception) -> BaseException | None:
    """What went wrong, if it may be over at the next try; None where a file is missing or may not be read.

    fsspec calls whatever a web server does wrong a missing file, one that is down too; the cause tells.
    """
    if not isinstance(error, FileNotFoundError | PermissionError):
        return error
    cause = error.__cause__
    if cause is None:
        return None
    try:
        import aiohttp
    except ImportError:
        return None
    if isinstance(cause, aiohttp.ClientResponseError):
        return cause if cause.status in PASSING or cause.status >= 500 else None
    return cause if isinstance(cause, aiohttp.ClientError | TimeoutError) else None


def read_remote(url: str, storage: Storage, *, most_bytes: int) -> bytes:
    """Read a small remote file.

    Raises:
        ShardError: missing, larger than ``most_bytes``, or unreachable.
    """

    def attempt() -> bytes:
        with opened(url, storage) as stream:
            content: bytes = stream.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise ShardError(f"'{url}' is larger than {most_bytes:,} bytes.")
        return content

    return retried(storage, f"'{url}'", attempt)


class Cache:
    """A folder of fetched files, least recently used first to go."""

    def __init__(self, storage: Storage) -> None:
        """Use the storage's folder; it is made when something is fetched."""
        self.storage, self.folder = storage, storage.cache.expanduser()

    def fetch(self, url: str, *, sha256: str | None = None, size: int | None = None) -> Path:
        """Return the local copy of a remote file, fetching it if need be.

        Args:
            sha256, size: what the manifest says of it; None: not checked.

        Raises:
            ShardError: missing, unreachable, not what the manifest says, or larger than the cache; a full disk.
            ConfigError: the URL's scheme is not allowed.
        """
        check_url(url, self.storage)
        if size is not None and size > self.storage.cache_bytes:
            raise ShardError(
                f"'{url}' has {size:,} bytes, the cache {self.storage.cache_bytes:,}: raise data.storage.cache_bytes."
            )
        name = hashlib.sha256(f"{url}\n{sha256}".encode()).hexdigest()[:24]
        target = self.folder / f"{name}-{PurePosixPath(url.partition('?')[0]).name}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / f".{name}.lock").open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not (target.is_file() and size in (None, target.stat().st_size)):
                    retried(self.storage, f"'{url}'", lambda: self._download(url, target, sha256=sha256, size=size))
                os.utime(target)
        except OSError as error:
            raise ShardError(f"cache folder '{self.folder}': {error.strerror or error}.") from error
        self.evict(keep=target)
        return target

    def evict(self, *, keep: Path | None = None) -> None:
        """Delete the least recently used files until the cache is within its bound."""
        files = sorted(self._files(), key=lambda each: each[0])
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self.storage.cache_bytes:
                return
            if path != keep:
                path.unlink(missing_ok=True)
                total -= size

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        for path in self.folder.iterdir():
            if path.name.startswith("."):
                continue
            try:
                facts = path.stat()
            except FileNotFoundError:  # another process has just deleted it
                continue
            yield facts.st_mtime, facts.st_size, path

    def _download(self, url: str, target: Path, *, sha256: str | None, size: int | None) -> None:
        scratch = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            while True:
                try:
                    digest, written = self._copy(url, scratch)
                    break
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    if not self._make_room():
                        message = (
                            f"the disk of the cache '{self.folder}' is full. "
                            "Free some, or lower data.storage.cache_bytes."
                        )
                        raise ShardError(message) from error
            if size not in (None, written) or sha256 not in (None, digest):
                raise OSError(
                    f"fetched {written:,} bytes with sha256 {digest[:12]}, which is not what the manifest says"
                )
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)

    def _make_room(self) -> bool:
        oldest = min(self._files(), default=None)
        if oldest is None:
            return False
        oldest[2].unlink(missing_ok=True)
        return True

    def _copy(self, url: str, scratch: Path) -> tuple[str, int]:
        digest, written = hashlib.sha256(), 0
        with opened(url, self.storage) as source, scratch.open("wb") as stream:
            while chunk := source.read(CHUNK_BYTES):
                written += len(chunk)
                if written > self.storage.cache_bytes:
                    raise ShardError(f"'{url}' is larger than the cache: raise data.storage.cache_bytes.")
                digest.update(chunk)
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        return digest.hexdigest(), written


@contextmanager
def opened(url: str, storage: Storage) -> Iterator[Any]:
    """A remote file as a stream of bytes, through fsspec.

    Raises:
        ConfigError: the URL's scheme is not allowed.
    """
    scheme = check_url(url, storage)
    import fsspec

    options: dict[str, Any] = {}
    if scheme in ("http", "https"):
        import aiohttp

        silence = aiohttp.ClientTimeout(
            total=None, sock_connect=storage.timeout_seconds, sock_read=storage.timeout_seconds
        )
        options = {"client_kwargs": {"timeout": silence}}
    filesystem, path = fsspec.core.url_to_fs(url, **options)
    with filesystem.open(path, "rb", block_size=CHUNK_BYTES, cache_type="readahead") as stream:
        yield stream
