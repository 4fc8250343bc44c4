"""Mutants of a shard: every harmful one is flagged, no wrong pair is handed out, no sample is lost without a row.

The oracle is the untouched shard: each picture and caption names its key, and the pristine index knows every crc32.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmcontrast.data.limits import Limits
from mmcontrast.data.shard_rows import ShardRows, read_shard
from tests.data.tars import BLOCK, header_offsets, pairs, tar_bytes
from tests.fuzz.amount import amount

MEMBERS = pairs(10, size=900)
GOOD = tar_bytes(MEMBERS)[: -9 * BLOCK]  # without most of the padding, so that mutations hit what matters
PRISTINE = dict(MEMBERS)
HEADERS = sorted(header_offsets(GOOD).values())
LEAST_RECOVERED = 0.73


def flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_in_header(content: bytes, rng: random.Random) -> bytes:
    at = rng.choice(HEADERS) + rng.choice((rng.randrange(100), 124 + rng.randrange(12), 148 + rng.randrange(110)))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def swap_in_header(content: bytes, rng: random.Random) -> bytes:
    """Swap two bytes of a name or a size: the checksum stays right."""
    first, length = rng.choice(((0, 13), (124, 11)))
    header = rng.choice(HEADERS) + first
    one, two = header + rng.randrange(length), header + rng.randrange(length)
    changed = bytearray(content)
    changed[one], changed[two] = changed[two], changed[one]
    return bytes(changed)


def truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def truncate_at_header(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.choice(HEADERS)]


def zero_block(content: bytes, rng: random.Random) -> bytes:
    at = rng.choice(HEADERS) if rng.random() < 0.5 else BLOCK * rng.randrange(len(content) // BLOCK)
    return content[:at] + bytes(BLOCK) + content[at + BLOCK :]


def noise(content: bytes, rng: random.Random) -> bytes:
    at, length = rng.randrange(len(content)), rng.randrange(1, 2048)
    return content[:at] + rng.randbytes(min(length, len(content) - at)) + content[at + length :]


def cut_out(content: bytes, rng: random.Random) -> bytes:
    at, length = rng.randrange(len(content)), rng.choice((1, 100, BLOCK, 2 * BLOCK, 3000))
    return content[:at] + content[at + length :]


def repeat(content: bytes, rng: random.Random) -> bytes:
    at = BLOCK * rng.randrange(len(content) // BLOCK)
    part = content[at : at + BLOCK * rng.randrange(1, 9)]
    to = BLOCK * rng.randrange(len(content) // BLOCK)
    return content[:to] + part + content[to:]


def shuffle_members(content: bytes, rng: random.Random) -> bytes:
    members = list(MEMBERS)
    one, two = rng.randrange(len(members)), rng.randrange(len(members))
    members[one], members[two] = members[two], members[one]
    return tar_bytes(members)


def drop_member(content: bytes, rng: random.Random) -> bytes:
    members = list(MEMBERS)
    del members[rng.randrange(len(members))]
    return tar_bytes(members)


MUTATORS = (
    flip,
    flip,
    flip_in_header,
    swap_in_header,
    truncate,
    truncate_at_header,
    zero_block,
    noise,
    cut_out,
    repeat,
    shuffle_members,
    drop_member,
)


def bytes_of(found: ShardRows, content: bytes) -> dict[str, dict[str, bytes]]:
    return {
        key: {extension: content[each.offset : each.offset + each.size] for extension, each in row.items()}
        for key, row in found.rows.items()
        if set(row) == {"jpg", "txt"}
    }


def intact(key: str, row: dict[str, bytes]) -> bool:
    return all(PRISTINE.get(f"{key}.{extension}") == content for extension, content in row.items())


@dataclass
class TarResult:
    """What became of the mutants."""

    mutants: int = 0
    harmful: int = 0
    flagged: int = 0
    samples: int = 0
    recovered: int = 0
    survivors: int = 0  # samples whose bytes the mutation left alone
    survivors_recovered: int = 0
    mispaired: int = 0  # pictures with another's caption, in a shard that is seen for the first time
    mispaired_caught: int = 0  # of these, by the crc32 of an index made before


def fuzz_tars(path: Path, mutants: int) -> TarResult:
    """Read mutants of a shard at ``path``.  Laws, for every one of them:

    1. a sample that is found and differs from the pristine one is caught by the index's crc32;
    2. a picture with another sample's caption never passes the index, and never without a finding even in a shard
       that is seen for the first time;
    3. when a sample is missing or differs, something is flagged: a finding, the count, or a crc32.

    Raises:
        AssertionError: a law is broken; names the seed.
    """
    keys = {name.partition(".")[0] for name in PRISTINE}
    result = TarResult(mutants=mutants, samples=mutants * len(keys))
    for seed in range(mutants):
        rng = random.Random(seed)
        mutator = MUTATORS[seed % len(MUTATORS)]
        content = mutator(GOOD, rng)
        path.write_bytes(content)
        found = read_shard(path, limits=Limits(), contents=True)
        rows = bytes_of(found, content)
        good = {key for key, row in rows.items() if intact(key, row)}
        where = f"seed {seed}, {mutator.__name__}"
        wrong_crc = {
            key
            for key in rows.keys() & keys
            if any(zlib.crc32(rows[key][each]) != zlib.crc32(PRISTINE[f"{key}.{each}"]) for each in ("jpg", "txt"))
        }
        unknown = rows.keys() - keys
        assert good == rows.keys() - wrong_crc - unknown, where
        for key, row in rows.items():
            picture, caption = row["jpg"], row["txt"]
            if picture == PRISTINE.get(f"{key}.jpg") and caption in {PRISTINE[f"{each}.txt"] for each in keys - {key}}:
                result.mispaired += 1
                assert found.problems, f"{where}: {key} has another's caption, and nothing says so"
                result.mispaired_caught += key in wrong_crc
                assert key in wrong_crc, f"{where}: {key} has another's caption, and its crc32 is right"
        if good != keys:
            result.harmful += 1
            named = bool(found.problems) or len(rows) != len(keys) or bool(wrong_crc)
            assert named, f"{where}: harm without a sign"
            result.flagged += named
        result.recovered += len(good)
        alive = {key for key in keys if all(PRISTINE[f"{key}.{each}"] in content for each in ("jpg", "txt"))}
        result.survivors += len(alive)
        result.survivors_recovered += len(good & alive)
    return result


@pytest.mark.slow
def test_mutated_shards(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    result = fuzz_tars(tmp_path / "mutant.tar", amount(pytestconfig, full=10_000))
    print(f"\n{result}")
    assert result.harmful > result.mutants / 2 and result.flagged == result.harmful
    assert result.recovered / result.samples >= LEAST_RECOVERED
