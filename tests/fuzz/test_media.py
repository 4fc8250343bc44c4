"""Damaged and hostile media: decoded to a sound view or refused by name; never a hang, never a crash."""

from __future__ import annotations

import resource
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmcontrast.data.limits import Limits
from tests.fuzz.amount import amount
from tests.fuzz.hostile import HOSTILE, Hostile
from tests.fuzz.media import FORMATS, fuzz_media, original, outcome

LONGEST_SECONDS = 2.0  # of the processor, for one file
MOST_GROWTH_BYTES = 512 << 20  # of resident memory, over all mutants
MOST_HOSTILE_BYTES = 300 << 20


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_decoded(name: str) -> None:
    kind, make = FORMATS[name]
    assert outcome(kind, make()) == "decoded"


@pytest.mark.parametrize("file", HOSTILE, ids=lambda file: file.name)
def test_a_hostile_file_becomes_what_the_table_says(file: Hostile) -> None:
    content = file.make()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    assert outcome(file.kind, content) == file.becomes
    assert time.process_time() - start < LONGEST_SECONDS
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < MOST_HOSTILE_BYTES


def test_a_limit_names_itself() -> None:
    limits = Limits(image_pixels=100, audio_channels=1, caption_bytes=3)
    assert outcome("image", original("png"), limits=limits) == "image_pixels"
    assert outcome("image", original("jpeg"), limits=limits) == "image_pixels"
    assert outcome("text", original("txt"), limits=limits) == "caption_bytes"


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@example(kind="image", content=b"\xff\xd8\xff")
@given(kind=st.sampled_from(("image", "audio", "text", "json")), content=st.binary(max_size=200))
def test_no_bytes_at_all_are_beyond_a_name(kind: str, content: bytes) -> None:
    assert outcome(kind, content) in ALL_OUTCOMES


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(name=st.sampled_from(sorted(FORMATS)), cut=st.floats(0, 1), inserted=st.binary(max_size=40))
def test_a_file_with_bytes_put_into_it_is_decoded_or_named(name: str, cut: float, inserted: bytes) -> None:
    content = original(name)
    at = int(cut * len(content))
    assert outcome(FORMATS[name][0], content[:at] + inserted + content[at:]) in ALL_OUTCOMES


ALL_OUTCOMES = {
    "decoded",
    *(f"image_{word}" for word in ("format", "decode", "mode", "pixels")),
    *(f"audio_{word}" for word in ("decode", "empty", "rate", "not_finite", "amplitude")),
    *(f"caption_{word}" for word in ("type", "empty", "utf8", "bytes")),
    *("json", "json_field"),
}


@pytest.mark.slow
def test_mutated_media(pytestconfig: pytest.Config) -> None:
    result = fuzz_media(amount(pytestconfig, full=50_000))
    print(f"\n{result}")
    assert set(result.causes) <= ALL_OUTCOMES - {"decoded"}
    assert set(result.decoded) == set(FORMATS), "some mutants of every format are still read"
    assert result.causes.total() > result.mutants / 4
    assert result.slowest_seconds < LONGEST_SECONDS
    assert result.rss_growth_bytes < MOST_GROWTH_BYTES
