"""Strict reading of a plain tar: every header's checksum is checked, and damage is named instead of ending the file.

Python's tarfile and webdataset take one damaged header for the end of the archive.  Here the next valid header is
searched, so that one bad block costs one sample.  Sources: POSIX.1-2001 pax and ustar formats; GNU long names.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from mmcontrast.data.block_reader import BlockReader
from mmcontrast.data.limits import Limits
from mmcontrast.data.problems import Problem

BLOCK = 512
ZEROS = bytes(BLOCK)
MAGIC_AT = 257
COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
REGULAR, LINKS, SPECIAL = b"0\0007", b"12", b"346"


@dataclass(frozen=True)
class Header:
    """One parsed header block."""

    name: bytes
    size: int
    kind: bytes  # type flag


@dataclass(frozen=True)
class Entry:
    """One regular file of a tar."""

    name: str
    offset: int  # of its first byte
    size: int
    crc32: int | None  # None: contents were not read
    faults: tuple[Problem, ...] = ()  # what makes its sample unusable


def parse_header(block: bytes) -> Header | None:
    """Parse a header block; None when its checksum or a number is wrong."""
    if len(block) < BLOCK:
        return None
    wanted = _octal(block[148:156])
    if wanted is None or sum(block) - sum(block[148:156]) + 8 * 32 != wanted:
        return None
    size = _base256(block[124:136]) if block[124] & 0x80 else _octal(block[124:136])
    if size is None:
        return None
    name = block[:100].partition(b"\0")[0]
    if block[MAGIC_AT : MAGIC_AT + 6] == b"ustar\0":  # GNU's magic has spaces, and other things in the prefix's place
        prefix = block[345:500].partition(b"\0")[0]
        name = prefix + b"/" + name if prefix else name
    return Header(name, size, block[156:157])


def _octal(digits: bytes) -> int | None:
    text = digits.partition(b"\0")[0].strip(b" ")
    if not text:
        return 0
    return int(text, 8) if all(48 <= digit <= 55 for digit in text) else None


def _base256(digits: bytes) -> int | None:
    return int.from_bytes(bytes([digits[0] & 0x7F]) + digits[1:], "big") if not digits[0] & 0x40 else None


class Scan:
    """Walks one tar from header to header; iterate over it for entries and problems in file order."""

    def __init__(self, reader: BlockReader, limits: Limits, *, contents: bool) -> None:
        """Prepare to read.

        Args:
            contents: read every member's bytes too: for its crc32, and to find headers that a wrong size swallowed.
        """
        self.reader, self.limits, self.contents = reader, limits, contents
        self._long_name: bytes | None = None
        self._long_size: int | None = None
        self._name_lost = False

    def __iter__(self) -> Iterator[Entry | Problem]:
        size = self.reader.size
        unreadable = self._unreadable()
        if unreadable is not None:
            yield unreadable
            return
        offset, pending = 0, None
        while offset + BLOCK <= size:
            block = self.reader.at(offset, BLOCK)
            header = None if block == ZEROS else parse_header(block)
            if pending is not None:
                yield from self._settled(pending, block, header)
                pending = None
            if block == ZEROS:
                offset, problem = self._after_zeros(offset)
                if problem is not None:
                    yield problem
                if offset >= size:
                    return
                continue
            if header is None:
                after = self._resync(offset + BLOCK)
                yield self._bad_header(offset, after)
                offset = after
                continue
            offset, found = self._member(offset, header)
            for each in found:
                if isinstance(each, Entry):
                    pending = each
                else:
                    yield each
        if pending is not None:
            yield from self._settled(pending, ZEROS, None)
        if size % BLOCK:
            yield Problem("ragged_end", size - size % BLOCK, f"{size % BLOCK} bytes after the last block")
        yield Problem("no_end_marker", size, "the file stops without two blocks of zeros")

    def _unreadable(self) -> Problem | None:
        if self.reader.size == 0:
            return Problem("empty_file", 0, "0 bytes")
        start = self.reader.at(0, BLOCK)
        for magic, name in COMPRESSED.items():
            if start.startswith(magic) and parse_header(start) is None:
                return Problem("compressed", 0, f"{name}: unpack it, shards are plain tar")
        if start != ZEROS and parse_header(start) is None and self._resync(0) >= self.reader.size:
            return Problem("not_a_tar", 0, f"begins with {start[:16]!r}, and no valid header follows")
        return None

    def _bad_header(self, offset: int, after: int) -> Problem:
        where = f"next valid header at byte {after:,}" if after < self.reader.size else "no valid header follows"
        # Extended headers belong to the member that was lost.
        self._long_name, self._long_size, self._name_lost = None, None, False
        return Problem("bad_header", offset, where)

    def _after_zeros(self, offset: int) -> tuple[int, Problem | None]:
        """Return where the first block that is not zeros begins, or the file's end."""
        after = offset
        for chunk in self.reader.chunks(offset, self.reader.size - offset):
            left = len(chunk.lstrip(b"\0"))
            after += len(chunk) - left
            if left:
                break
        after -= after % BLOCK
        blocks = (after - offset) // BLOCK
        if after + BLOCK > self.reader.size:
            problem = None if blocks >= 2 else Problem("no_end_marker", offset, "one block of zeros instead of two")
            return self.reader.size, problem
        kind = "zero_header" if blocks == 1 else "data_after_end"
        if parse_header(self.reader.at(after, BLOCK)) is None:
            after = self._resync(after)
            if after >= self.reader.size:
                return after, Problem("data_after_end", offset, "bytes that hold no valid header")
        return after, Problem(kind, offset, f"{blocks} blocks of zeros, then a header at byte {after:,}")

    def _resync(self, offset: int) -> int:
        """Return the next block from ``offset`` on that is a valid header with the ustar magic, or the file's end."""
        found = self._embedded(offset, self.reader.size - offset)
        return self.reader.size if found is None else found

    def _embedded(self, offset: int, size: int) -> int | None:
        position = offset
        for chunk in self.reader.chunks(offset, size):
            at = chunk.find(b"ustar")
            while at >= 0:
                block = position + at - MAGIC_AT
                if block >= offset and block % BLOCK == 0 and parse_header(self.reader.at(block, BLOCK)) is not None:
                    return block
                at = chunk.find(b"ustar", at + 1)
            position += len(chunk)
        return None

    def _member(self, offset: int, header: Header) -> tuple[int, list[Entry | Problem]]:
        """Read one header's member; return the next header's place, and what was found."""
        data = offset + BLOCK
        if header.kind in (b"x", b"L"):
            return self._extended(data, header)
        size = header.size if self._long_size is None else self._long_size
        raw_name = header.name if self._long_name is None else self._long_name
        name_lost, self._name_lost, self._long_name, self._long_size = self._name_lost, False, None, None
        name, faults = _name(raw_name, offset, lost=name_lost)
        after = data + size + -size % BLOCK
        if header.kind in LINKS:
            return data, [Entry(name, data, 0, None, (*faults, Problem("link", offset, name)))]
        if header.kind in SPECIAL:
            return data, [Problem("special_file", offset, name)]
        if header.kind == b"5":
            return data, []
        if data + size > self.reader.size:
            fault = Problem("truncated_member", offset, f"{name}: {size:,} bytes, {self.reader.size - data:,} left")
            return self._resync(data), [Entry(name, data, size, None, (*faults, fault))]
        if header.kind not in (b"0", b"\0", b"7"):
            # Global headers (g) and long link names (K) say nothing about regular files.
            known = header.kind in (b"g", b"K")
            return after, [] if known else [Problem("unsupported_type", offset, f"{name}: type {header.kind!r}")]
        if size > self.limits.member_bytes:
            faults = (*faults, Problem("member_too_large", offset, f"{name}: {size:,} bytes"))
        if size == 0 and self.contents:  # without contents, it is left to the decoder, row by row
            faults = (*faults, Problem("empty_member", offset, name))
        if self.contents and (swallowed := self._embedded(data, size)) is not None:
            fault = Problem(
                "wrong_size", offset, f"{name}: its {size:,} bytes hold a tar header at byte {swallowed:,}"
            )
            return swallowed, [Entry(name, data, size, None, (*faults, fault))]
        found: list[Entry | Problem] = [Entry(name, data, size, self._crc32(data, size), faults)]
        return min(after, self.reader.size), found

    def _crc32(self, offset: int, size: int) -> int | None:
        if not self.contents:
            return None
        value = 0
        for chunk in self.reader.chunks(offset, size):
            value = zlib.crc32(chunk, value)
        return value

    def _settled(self, entry: Entry, after: bytes, header: Header | None) -> Iterator[Entry | Problem]:
        """Yield an entry once the block after it is known: data there, instead of a header, makes it doubtful."""
        end = entry.offset + entry.size
        padding = b"" if entry.faults else self.reader.at(end, -entry.size % BLOCK)
        dirty, ended = bool(padding.strip(b"\0")), header is not None or after == ZEROS
        damaged_header = after[MAGIC_AT : MAGIC_AT + 5] == b"ustar"
        if not entry.faults and not ended and (dirty or not damaged_header):
            fault = Problem("wrong_size", entry.offset, f"{entry.name}: {entry.size:,} bytes, then data")
            yield Entry(entry.name, entry.offset, entry.size, entry.crc32, (fault,))
            return
        if dirty:
            yield Problem("dirty_padding", end, entry.name)
        yield entry

    def _extended(self, data: int, header: Header) -> tuple[int, list[Entry | Problem]]:
        after = data + header.size + -header.size % BLOCK
        kind = "pax header" if header.kind == b"x" else "long name"
        if data + header.size > self.reader.size:
            self._name_lost = True
            return self._resync(data), [Problem("bad_extended_header", data, f"{kind} runs past the end of the file")]
        if header.size > self.limits.header_bytes:
            self._name_lost = True
            return after, [Problem("huge_header", data, f"{kind} of {header.size:,} bytes")]
        content = self.reader.at(data, header.size)
        if header.kind == b"L":
            self._long_name = content.partition(b"\0")[0]
            return after, []
        records = parse_pax(content)
        if records is None:
            self._name_lost = True
            return after, [Problem("bad_extended_header", data, kind)]
        self._long_name = records.get(b"path", self._long_name)
        if b"size" in records:
            self._long_size = int(records[b"size"])
        return after, []


def parse_pax(content: bytes) -> dict[bytes, bytes] | None:
    """Parse ``LENGTH KEY=VALUE\\n`` records; None when one does not parse."""
    records, position = {}, 0
    while position < len(content):
        space = content.find(b" ", position, position + 20)
        length = content[position:space]
        if space < 0 or not length.isdigit():
            return None
        end = position + int(length)
        record = content[space + 1 : end]
        if not space < end <= len(content) or not record.endswith(b"\n") or b"=" not in record:
            return None
        key, _, value = record[:-1].partition(b"=")
        if key == b"size" and not (value.isdigit() and len(value) < 20):
            return None
        records[key] = value
        position = end
    return records


def _name(raw: bytes, offset: int, *, lost: bool) -> tuple[str, tuple[Problem, ...]]:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        shown = raw.decode("utf-8", "backslashreplace")
        return shown, (Problem("bad_name", offset, f"{shown}: not UTF-8"),)
    if lost:
        return name, (Problem("bad_name", offset, f"{name}: its extended header was unreadable"),)
    while name.startswith("./"):
        name = name[2:]
    if name.startswith("/") or ".." in name.split("/") or any(each < " " or each == "\\" for each in name):
        return name, (Problem("unsafe_path", offset, repr(name)),)
    return name, ()
