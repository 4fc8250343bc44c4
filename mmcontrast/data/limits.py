"""How large anything read from a data set may be.  Checked before memory is allocated, wherever a header allows it."""

from __future__ import annotations

from mmcontrast.config import Count, Positive, config


@config
class Limits:
    """Largest sizes of what a shard holds.  A sample over one of them is refused and named, never cut."""

    member_bytes: Count = 64 << 20  # one file inside a tar
    header_bytes: Count = 64 << 10  # one extended tar header (long names, pax records)
    json_bytes: Count = 1 << 20  # one .json member
    caption_bytes: Count = 8192  # one .txt member, in UTF-8
    image_pixels: Count = 40_000_000  # width x height, from the picture's header
    image_side: Count = 65_500  # width or height; JPEG's own limit
    audio_seconds: Positive = 600.0  # what is decoded of a longer sound ends here
    audio_amplitude: Positive = 4.0  # largest absolute sample; 1 is full scale, damaged float files hold 1e30
    audio_channels: Count = 32
    audio_lowest_hz: Count = 1_000  # sample rate
    audio_highest_hz: Count = 384_000  # sample rate
