"""The strict reading of tars: agrees with the standard library on good ones, names every fault of bad ones."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmcontrast.data.block_reader import BlockReader
from mmcontrast.data.limits import Limits
from mmcontrast.data.tar_headers import parse_pax
from tests.data.tars import BLOCK, header_offsets, kinds, pairs, scanned, tar_bytes


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("contents", [True, False])
def test_good_tars_read_as_the_standard_library_reads_them(tmp_path: Path, format: int, contents: bool) -> None:
    long = "folder/" + "n" * 90 + "/"
    names = pairs(5) + [(long + "é-long-key.jpg", b"x" * 513), (long + "é-long-key.txt", b"y" * 512)]
    if format == tarfile.USTAR_FORMAT:
        names = [(name.replace("é", "e"), content) for name, content in names]
    content = tar_bytes(names, format=format)
    found = scanned(tmp_path / "a.tar", content, contents=contents)
    assert found.problems == [] and found.members == len(names)
    read = {
        f"{key}.{extension}": content[member.offset : member.offset + member.size]
        for key, row in found.rows.items()
        for extension, member in row.items()
    }
    assert read == dict(names)
    if contents:
        assert all(
            member.crc32 == zlib.crc32(read[f"{key}.{extension}"])
            for key, row in found.rows.items()
            for extension, member in row.items()
        )


def damaged_header(content: bytes, name: str) -> bytes:
    at = header_offsets(content)[name]
    return content[: at + 3] + b"\xff" + content[at + 4 :]


def resized(content: bytes, name: str, size: int) -> bytes:
    """Give a member another size, with a checksum that fits."""
    at = header_offsets(content)[name]
    block = bytearray(content[at : at + BLOCK])
    block[124:136] = b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return content[:at] + bytes(block) + content[at + BLOCK :]


GOOD = tar_bytes(pairs())
FAULTS = {
    "a header's flipped byte": (damaged_header(GOOD, "row-0003.jpg"), "bad_header", {3}),
    "the first header's flipped byte": (damaged_header(GOOD, "row-0000.jpg"), "bad_header", {0}),
    "the last header's flipped byte": (damaged_header(GOOD, "row-0009.txt"), "bad_header", {9}),
    "cut inside a member": (GOOD[: header_offsets(GOOD)["row-0006.jpg"] + 700], "truncated_member", {6, 7, 8, 9}),
    "cut at a member's end": (GOOD[: header_offsets(GOOD)["row-0005.jpg"]], "no_end_marker", {5, 6, 7, 8, 9}),
    "cut off blocks": (GOOD[: header_offsets(GOOD)["row-0005.jpg"] + 99], "ragged_end", {5, 6, 7, 8, 9}),
    "a size that swallows headers": (resized(GOOD, "row-0002.jpg", 2400), "wrong_size", {2}),
    "a size that leads into data": (resized(GOOD, "row-0004.jpg", 100), "wrong_size", {4}),
    "a size past the end": (resized(GOOD, "row-0004.jpg", 1 << 30), "truncated_member", {4}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_is_named_and_costs_only_its_own_samples(tmp_path: Path, fault: str) -> None:
    content, kind, lost = FAULTS[fault]
    found = scanned(tmp_path / "a.tar", content)
    assert kind in kinds(found)
    whole = {key for key, row in found.rows.items() if set(row) == {"jpg", "txt"}}
    assert whole == {f"row-{number:04d}" for number in range(10) if number not in lost}
    assert len(found.problems) <= 3


def test_a_zeroed_header_is_no_end_of_the_archive(tmp_path: Path) -> None:
    at = header_offsets(GOOD)["row-0003.jpg"]
    found = scanned(tmp_path / "a.tar", GOOD[:at] + bytes(BLOCK) + GOOD[at + BLOCK :])
    assert len([row for row in found.rows.values() if len(row) == 2]) == 9 and "data_after_end" not in kinds(found)
    assert {"zero_header", "bad_header"} & kinds(found)


def test_what_follows_the_end_marker_is_read_and_named(tmp_path: Path) -> None:
    second = tar_bytes([(name.replace("row", "more"), content) for name, content in pairs(3)])
    found = scanned(tmp_path / "a.tar", GOOD + second)
    assert len(found.rows) == 13 and kinds(found) == {"data_after_end"}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty_file"),
        (b"<!DOCTYPE html><html>" + b"not found " * 200, "not_a_tar"),
        (gzip.compress(GOOD), "compressed"),
        (b"\x28\xb5\x2f\xfd" + bytes(4096), "compressed"),
        (b"x" * 100, "not_a_tar"),
    ],
)
def test_what_is_no_plain_tar_is_named(tmp_path: Path, content: bytes, kind: str) -> None:
    found = scanned(tmp_path / "a.tar", content)
    assert kinds(found) == {kind} and not found.rows


def test_keys_that_come_back_or_repeat_never_pair(tmp_path: Path) -> None:
    members = pairs(4)
    interleaved = [members[0], members[2], members[1], members[3], *members[4:]]
    found = scanned(tmp_path / "a.tar", tar_bytes(interleaved))
    assert kinds(found) == {"split_key"} and set(found.rows) == {"row-0002", "row-0003"}
    twice = [*members[:2], ("row-0000.txt", b"another caption"), *members[2:]]
    found = scanned(tmp_path / "a.tar", tar_bytes(twice))
    assert kinds(found) == {"duplicate_member"} and "row-0000" not in found.rows and len(found.rows) == 3
    found = scanned(tmp_path / "a.tar", tar_bytes([*members, *members[:2]]))
    assert {"split_key", "duplicate_member"} == kinds(found) and "row-0000" not in found.rows
    apart = [*members[::2], *members[1::2]]
    assert not scanned(tmp_path / "a.tar", tar_bytes(apart)).rows
    joined = scanned(tmp_path / "a.tar", tar_bytes(apart), join=True)
    assert not joined.problems and all(set(row) == {"jpg", "txt"} for row in joined.rows.values())


def hostile(name: str = "x.jpg", **fields: object) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo(name)
        for field, value in fields.items():
            setattr(entry, field, value)
        tar.addfile(entry, io.BytesIO(bytes(entry.size)))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (hostile("/etc/passwd.jpg", size=5), "unsafe_path"),
        (hostile("a/../../x.jpg", size=5), "unsafe_path"),
        (hostile("a\\x.jpg", size=5), "unsafe_path"),
        (hostile(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "link"),
        (hostile(type=tarfile.LNKTYPE, linkname="y.jpg"), "link"),
        (hostile("fifo", type=tarfile.FIFOTYPE), "special_file"),
        (hostile("disk", type=tarfile.CHRTYPE), "special_file"),
        (hostile("x.jpg", type=b"S", size=5), "unsupported_type"),
        (hostile("x.pkl", size=5), "code_member"),
        (hostile("x.json.gz", size=5), "code_member"),
        (hostile(".jpg", size=5), "no_key"),
        (hostile("README", size=5), "no_key"),
        (hostile("x.jpg"), "empty_member"),
        (hostile("x.jpg", size=4097), "member_too_large"),
    ],
)
def test_members_that_are_not_read_are_named(tmp_path: Path, content: bytes, kind: str) -> None:
    found = scanned(tmp_path / "a.tar", content, limits=Limits(member_bytes=4096))
    assert kinds(found) == {kind} and not found.rows


def test_extended_headers_have_a_limit_and_their_member_goes_with_them(tmp_path: Path) -> None:
    content = tar_bytes([("k" * 200_000 + ".jpg", b"abc"), *pairs(2)], format=tarfile.PAX_FORMAT)
    found = scanned(tmp_path / "a.tar", content)
    assert kinds(found) == {"huge_header", "bad_name", "no_key"} and set(found.rows) == {"row-0000", "row-0001"}


@pytest.mark.parametrize("content", [b"99999 path=x\n", b"x", b"8 path\n", b"12 size=-5\n\n", b"0 a=b\n"])
def test_broken_pax_records_do_not_parse(content: bytes) -> None:
    assert parse_pax(content) is None


@pytest.mark.parametrize(
    "content",
    [
        (bytes(257) + b"ustar\0" + bytes(249)) * 4_000,
        (b"\xff" * BLOCK + GOOD[:BLOCK] + bytes(BLOCK)) * 1_500,
        resized(GOOD, "row-0000.jpg", 8 << 20)[:BLOCK] * 2_000,
    ],
    ids=["false headers", "damage between headers and zeros", "sizes that swallow"],
)
def test_the_bytes_read_are_linear_in_the_size_of_a_hostile_tar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    read = 0
    chunks = BlockReader.chunks

    def counted(self: BlockReader, offset: int, size: int) -> Iterator[bytes]:
        nonlocal read
        for chunk in chunks(self, offset, size):
            read += len(chunk)
            yield chunk

    monkeypatch.setattr(BlockReader, "chunks", counted)
    members = [("first.jpg", b"picture"), ("first.txt", b"caption"), ("tail.jpg", b"picture")]
    found = scanned(tmp_path / "a.tar", tar_bytes(members)[: 6 * BLOCK] + content)
    assert "first" in found.rows and read < 100 * len(content)
