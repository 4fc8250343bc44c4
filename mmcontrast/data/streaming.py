"""Tars without an index, streamed in order through the webdataset package: any tars, at the price of exactness.

A source's shards form one endless line of numbers, each epoch's in an order of its own.  Of R readers (ranks x
workers) the r-th takes every R-th number.  What a checkpoint holds is the lowest number that some reader has not
finished: a run goes on from there with any ranks and workers, and sees the rows of shards that were open again.

Streams are opened here, never by webdataset: no ``pipe:``, no other scheme than those allowed, no compressed tars.
Its decoders are not used: nothing is unpickled.
"""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Int

from mmcontrast.config import Count, config
from mmcontrast.data.guess_columns import parse_column
from mmcontrast.data.limits import Limits
from mmcontrast.data.manifest import Manifest, ShardInfo, is_url
from mmcontrast.data.order import LineOrder, Located, generator
from mmcontrast.data.remote import check_url, opened, retried
from mmcontrast.data.shard_names import expand_braces
from mmcontrast.data.shards import RawRow, alternatives, check_member_size
from mmcontrast.data.storage import Storage
from mmcontrast.errors import ConfigError, MMContrastError, ShardError, SkipSample

COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
HEADERS_BYTES = 1 << 20  # what may be read between two members besides them


@config
class StreamConfig:
    """Tars that are read from their beginning to their end, without an index."""

    columns: dict[str, str]  # column -> extension, or extension:field of a JSON member: jpg;png, json:caption
    rows: Count  # how many the tars hold, about: epochs are counted with it, nothing ends there
    shuffle_rows: Count = 1000  # rows that a reader keeps to shuffle them


class StreamOrder(LineOrder):
    """Positions of a stream: each is the next row, whatever it is."""

    def __init__(self, rows: int) -> None:
        super().__init__([rows], seed=0, name="stream", block_rows=rows, lanes=1)

    def locate(self, positions: Int[np.ndarray, " P"]) -> Located:
        """Count epochs by the rows that the config says there are."""
        epochs, rows = np.divmod(positions.astype(np.int64), self.rows)
        return Located(epochs, rows)

    def locate_one(self, position: int) -> tuple[int, int]:
        """The same for one position."""
        return divmod(position, self.rows)

    def substitute(self, position: int, attempt: int) -> int:
        """A bad row is replaced by the next one."""
        return position


@dataclass(frozen=True)
class _Read:
    """One row, or what was wrong in its place."""

    number: int  # of its shard in the line of shards
    shard: str
    key: str
    row: RawRow | SkipSample


class StreamedShards:
    """The rows of tars one after the other; asked for any position, it gives the next row."""

    def __init__(
        self, where: str, settings: StreamConfig, *, name: str, seed: int, storage: Storage, limits: Limits
    ) -> None:
        """Find the shards; none is opened.

        Raises:
            ShardError: there is none.
            ConfigError: a pattern or a column that cannot be used.
        """
        self.settings, self.name, self.seed = settings, name, seed
        self.storage, self.limits = storage, limits
        columns = dict(parse_column(f"{column}={rest}") for column, rest in settings.columns.items())
        shards = tuple(ShardInfo(path=path, rows=0, bytes=0, sha256="") for path in find_tars(where, storage))
        self.manifest = Manifest(name=name, columns=columns, shards=shards)
        self._alternatives = alternatives(self.manifest)
        self._wanted = {each for column in columns.values() for each in column.extensions} | {"json"}
        self._rows: Iterator[_Read] | None = None
        self._last = ("", "")
        self.start(first=0, reader=0, readers=1)

    def __len__(self) -> int:
        return self.settings.rows

    def __getitem__(self, position: int) -> RawRow:
        """Read the next row.

        Raises:
            SkipSample: it cannot be used, or the rest of its shard cannot.
            ShardError: a shard cannot be opened, and ``storage.on_shard_error`` is "fail".
        """
        if self._rows is None:
            self._rows = self._read()
        found = next(self._rows)
        self._last = (found.shard, found.key)
        if isinstance(found.row, SkipSample):
            raise found.row
        return found.row

    def name_of(self, position: int) -> tuple[str, str]:
        """Shard and key of the row that was read last."""
        return self._last

    def check_readers(self, *, ranks: int, workers: int) -> None:
        """Refuse fewer shards than readers: they would read several epochs at once, and one shard twice in a batch.

        Raises:
            ConfigError: says what to change.
        """
        readers, shards = ranks * max(1, workers), len(self.manifest.shards)
        if shards < readers:
            raise ConfigError(
                f"source {self.name}: {shards} shard(s) for {readers} readers ({ranks} rank(s) x {max(1, workers)} "
                "worker(s)): each reader of a stream needs shards of its own. Lower data.workers, or read them by an "
                "index: 'mmcontrast data index'."
            )

    def start(self, *, first: int, reader: int, readers: int) -> None:
        """Begin anew as one of several readers, at a number in the line of shards."""
        self._first, self._reader, self._readers = first, reader, readers
        self._rows = None
        self.reached = first  # lowest number in the line of shards that this reader has not finished

    def in_words(self) -> str:
        """What a stream gives up, said when a run begins."""
        return (
            f"source {self.name}: {len(self.manifest.shards):,} shard(s) streamed by webdataset, without an index. "
            "Rows come in no exact order; a resumed run begins again at the first shard that was not finished; no "
            "content is checked against a checksum, and where a tar is broken nobody counts what it hides. "
            "'mmcontrast data index' gives all of this."
        )

    def _read(self) -> Iterator[_Read]:
        rng = generator("stream", self.seed, self.name, self._first, self._reader, self._readers)
        most = max(1, min(self.settings.shuffle_rows, self.settings.rows // (2 * self._readers)))
        kept: list[_Read] = []
        for number in itertools.count(self._first + self._reader, self._readers):
            for each in self._read_shard(number):
                if isinstance(each.row, RawRow):
                    if len(kept) < most:
                        kept.append(each)
                        continue
                    place = int(rng.integers(len(kept)))
                    kept[place], each = each, kept[place]
                self.reached = min((other.number for other in kept), default=number)
                yield each

    def _read_shard(self, number: int) -> Iterator[_Read]:
        epoch, place = divmod(number, len(self.manifest.shards))
        path = self.manifest.shards[_order(self.seed, self.name, epoch, len(self.manifest.shards))[place]].path
        shard = path.rpartition("/")[2]
        count = 0
        try:
            for sample in self._samples(path):
                key = str(sample["__key__"])
                yield _Read(number, shard, key, self._row(f"{self.name}/{shard}/{key}", sample))
                count += 1
        except _Unreadable as error:
            if self.storage.on_shard_error == "fail":
                advice = "With data.storage.on_shard_error=substitute, other rows take its place."
                raise ShardError(f"{error}\n{advice}") from error
            problem = SkipSample(str(error), cause="shard_unreadable", lasting=False)
            yield _Read(number, shard, "", problem)
        except MMContrastError:
            raise
        except Exception as error:  # of tarfile, of webdataset and of every file system
            message = f"shard '{path}': given up after {count:,} rows: {type(error).__name__}: {_said(error)}"
            yield _Read(number, shard, "", SkipSample(message, cause="shard_damaged"))
        else:
            if count == 0:
                problem = SkipSample(f"shard '{path}' holds no rows", cause="shard_empty")
                yield _Read(number, shard, "", problem)

    def _samples(self, path: str) -> Iterator[Mapping[str, Any]]:
        from webdataset.tariterators import group_by_keys, tar_file_expander

        with ExitStack() as open_files:
            try:
                stream = retried(self.storage, f"shard '{path}'", lambda: open_files.enter_context(self._open(path)))
            except ShardError as error:
                raise _Unreadable(str(error)) from error
            bounded = _Bounded(stream, most=self.limits.member_bytes + HEADERS_BYTES)
            files = bounded.forgetting(tar_file_expander([{"url": path, "stream": bounded}]))
            yield from group_by_keys(files, suffixes=self._wanted)
            bounded.check_rest()

    def _open(self, path: str) -> Any:
        return opened(path, self.storage) if is_url(path) else Path(path).open("rb")

    def _row(self, key: str, sample: Mapping[str, Any]) -> RawRow | SkipSample:
        members = {extension: content for extension, content in sample.items() if not extension.startswith("__")}
        try:
            for extension, content in members.items():
                check_member_size(key, extension, len(content), self.limits)
        except SkipSample as error:
            return error
        for column, extensions in self._alternatives.items():
            found = [extension for extension in extensions if extension in members]
            if found:
                members[column] = members[found[0]]
        return RawRow(key, members)


def _said(error: Exception) -> str:
    """What an error says, without the objects that webdataset puts beside it and their addresses."""
    said = str(error.args[0]) if error.args else str(error)
    return re.sub(r" @ <.*?>| at 0x[0-9a-f]+", "", said)[:200]


class _Unreadable(Exception):
    """A shard that could not be opened after all tries."""


class _Bounded:
    """A stream of a plain tar that refuses to be read far without a member coming out of it."""

    def __init__(self, stream: BinaryIO, *, most: int) -> None:
        self._stream, self._most, self._since = stream, most, 0
        self._head = stream.read(6)
        if self._head.startswith(COMPRESSED):
            raise ValueError("a compressed file: shards are plain tar")

    def read(self, size: int) -> bytes:
        head, self._head = self._head[:size], self._head[size:]
        content = head + self._stream.read(size - len(head))
        self._since += len(content)
        if self._since > self._most:
            raise ValueError("a member is over data.limits.member_bytes")
        return content

    def forgetting(self, files: Iterator[Any]) -> Iterator[Any]:
        """Pass files on, and begin to count anew after each."""
        for each in files:
            self._since = 0
            yield each

    def check_rest(self) -> None:
        """Make sure that nothing but padding follows where the tar seemed to end."""
        while content := self._stream.read(1 << 20):
            if content.strip(b"\0"):
                raise ValueError("bytes follow where the tar seemed to end: a header is damaged")


@lru_cache(maxsize=4)
def _order(seed: int, name: str, epoch: int, shards: int) -> Int[np.ndarray, " shards"]:
    return generator("shards", seed, name, epoch).permutation(shards)


def find_tars(where: str, storage: Storage) -> list[str]:
    """Paths or URLs of the tars of a folder, a glob or a pattern such as ``https://host/x-{000..099}.tar``.

    Raises:
        ShardError: there is none.
        ConfigError: a URL that may not be opened, or a pattern that cannot be used.
    """
    if is_url(where):
        urls = expand_braces(where)
        check_url(urls[0], storage)
        return urls
    if Path(where).is_dir():
        found = sorted(str(path) for path in Path(where).rglob("*.tar"))
    else:
        found = sorted(file for name in expand_braces(where) for file in glob.glob(name, recursive=True))
    if not found:
        raise ShardError(
            f"no .tar shard at '{where}'. Expected a folder, a glob, or a pattern such as x-{{000..099}}.tar."
        )
    return found
