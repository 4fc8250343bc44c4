"""Hostile and odd files, made by code, each with what must become of it: decoded, or a named cause."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import soundfile
from PIL import Image

from tests.fuzz.media import av_file, image_file, sound_file


@dataclass(frozen=True)
class Hostile:
    """One file."""

    name: str
    kind: str  # image | audio | text | json
    make: Callable[[], bytes]
    becomes: str  # "decoded", or a cause


def _image(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(width: int, height: int, data: bytes, *, depth: int = 1, colour: int = 0, extra: bytes = b"") -> bytes:
    """A PNG whose header says what it likes."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _blank_png(side: int) -> bytes:
    return _png(side, side, zlib.compress(bytes(side * (1 + (side + 7) // 8)), 9))


def _text_bomb_png() -> bytes:
    bomb = _chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(200 << 20), 9))
    return _png(8, 8, zlib.compress(bytes(16)), extra=bomb)


def _animated(format: str) -> bytes:
    frames = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in (10, 120, 250)]
    return _image(frames[0], format, save_all=True, append_images=frames[1:])


def _jpeg_with_size(width: int, height: int) -> bytes:
    content = bytearray(image_file("JPEG"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def _rational_tiff() -> bytes:
    """A TIFF whose image width is a fraction."""
    entries = [(256, 5, 1, 0), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 0)]
    entries += [(278, 4, 1, 8), (279, 4, 1, 64)]
    head = 8 + 2 + 12 * len(entries) + 4
    entries[0], entries[5] = (256, 5, 1, head), (273, 4, 1, head + 8)
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + struct.pack("<II", 17, 2) + bytes(64)


def _wave(samples: np.ndarray, *, rate: int = 8000, format: str = "WAV", subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=format, subtype=subtype)
    return stream.getvalue()


def _bad_sample(value: float) -> bytes:
    samples = np.zeros(4000, np.float32)
    samples[1234] = value
    return _wave(samples, subtype="FLOAT")


def _wav_that_promises(frames: int) -> bytes:
    content = bytearray(sound_file("WAV", "PCM_16"))
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", frames)
    return bytes(content)


def _id3_only() -> bytes:
    return b"ID3\x04\0\0\0\0\x07\x76" + bytes(1014)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


HTML = b"<!DOCTYPE html><html><body>404 not found</body></html>" * 4
TONE = np.sin(np.arange(4000) / 5).astype(np.float32) / 2

HOSTILE = (
    Hostile("no bytes at all", "image", lambda: b"", "image_format"),
    Hostile("HTML as JPEG", "image", lambda: HTML, "image_format"),
    Hostile("JPEG's first three bytes", "image", lambda: b"\xff\xd8\xff", "image_format"),
    Hostile("half a PNG", "image", lambda: image_file("PNG", "RGB")[:1500], "image_decode"),
    Hostile("JPEG of four inks", "image", lambda: image_file("JPEG", "CMYK"), "decoded"),
    Hostile("grey JPEG", "image", lambda: image_file("JPEG", "L"), "decoded"),
    Hostile("JPEG whose header says 65,500 x 65,500", "image",
            lambda: _jpeg_with_size(65_500, 65_500), "image_pixels"),
    Hostile("JPEG whose header says no rows", "image", lambda: _jpeg_with_size(48, 0), "image_format"),
    Hostile("PNG of 16 bits", "image", lambda: image_file("PNG", "I;16"), "decoded"),
    Hostile("PNG with a palette and transparency", "image",
            lambda: _image(Image.new("P", (9, 9)), "PNG", transparency=0), "decoded"),
    Hostile("PNG of grey and alpha", "image", lambda: image_file("PNG", "LA"), "decoded"),
    Hostile("PNG of one bit", "image", lambda: image_file("PNG", "1"), "decoded"),
    Hostile("PNG of one pixel", "image", lambda: _image(Image.new("RGB", (1, 1)), "PNG"), "decoded"),
    Hostile("PNG 32,768 pixels wide, one high", "image",
            lambda: _image(Image.new("L", (32_768, 1)), "PNG"), "decoded"),
    Hostile("PNG 70,000 pixels wide", "image", lambda: _image(Image.new("1", (70_000, 1)), "PNG"), "image_pixels"),
    Hostile("PNG bomb of 13,000 x 13,000", "image", lambda: _blank_png(13_000), "image_pixels"),
    Hostile("PNG bomb of 20,000 x 20,000", "image", lambda: _blank_png(20_000), "image_pixels"),
    Hostile("PNG whose header says 4 billion x 4 billion", "image",
            lambda: _png(2**31 - 1, 2**31 - 1, zlib.compress(b"")), "image_pixels"),
    Hostile("PNG of no width", "image", lambda: _png(0, 4, zlib.compress(bytes(8))), "image_format"),
    Hostile("PNG whose comment unpacks to 200 MB", "image", _text_bomb_png, "image_format"),
    Hostile("animated GIF", "image", lambda: _animated("GIF"), "decoded"),
    Hostile("animated PNG", "image", lambda: _animated("PNG"), "decoded"),
    Hostile("animated WebP", "image", lambda: _animated("WEBP"), "decoded"),
    Hostile("TIFF of floats", "image", lambda: image_file("TIFF", "F"), "image_mode"),
    Hostile("TIFF of four inks", "image", lambda: image_file("TIFF", "CMYK"), "decoded"),
    Hostile("TIFF whose width is a fraction", "image", _rational_tiff, "image_format"),
    Hostile("PPM, a format that is not read", "image", lambda: image_file("PPM"), "image_format"),
    Hostile("EPS, a program", "image", lambda: image_file("EPS"), "image_format"),
    Hostile("SVG with a link", "image", lambda: b'<svg><image href="file:///etc/passwd"/></svg>', "image_format"),
    Hostile("gzip of a picture", "image", lambda: gzip.compress(image_file("PNG")), "image_format"),
    Hostile("sound with no bytes", "audio", lambda: b"", "audio_decode"),
    Hostile("HTML as MP3", "audio", lambda: HTML, "audio_decode"),
    Hostile("MP3 of a tag and no frame", "audio", _id3_only, "audio_decode"),
    Hostile("WAV of no frames", "audio", lambda: _wave(np.zeros(0, np.float32)), "audio_empty"),
    Hostile("WAV, named as any sound may be", "audio", lambda: sound_file("WAV"), "decoded"),
    Hostile("WAV cut inside its header", "audio", lambda: sound_file("WAV")[:30], "audio_decode"),
    Hostile("WAV that promises 4 GB", "audio", lambda: _wav_that_promises(2**32 - 1), "decoded"),
    Hostile("WAV of 128 kHz", "audio", lambda: _wave(TONE, rate=128_000), "decoded"),
    Hostile("WAV of 768 kHz", "audio", lambda: _wave(TONE, rate=768_000), "audio_rate"),
    Hostile("WAV of 1 Hz", "audio", lambda: _wave(TONE, rate=1), "audio_rate"),
    Hostile("WAV of 8 bits", "audio", lambda: _wave(TONE, subtype="PCM_U8"), "decoded"),
    Hostile("WAV of 64-bit floats", "audio", lambda: _wave(TONE, subtype="DOUBLE"), "decoded"),
    Hostile("WAV of 7 channels", "audio", lambda: _wave(np.tile(TONE[:, None], (1, 7))), "decoded"),
    Hostile("WAV of 200 channels", "audio", lambda: _wave(np.zeros((40, 200), np.float32)), "audio_rate"),
    Hostile("WAV with a NaN", "audio", lambda: _bad_sample(float("nan")), "audio_not_finite"),
    Hostile("WAV with an infinity", "audio", lambda: _bad_sample(float("-inf")), "audio_not_finite"),
    Hostile("WAV of 1e30 times full scale", "audio", lambda: _bad_sample(1e30), "audio_amplitude"),
    Hostile("WAV of one sample", "audio", lambda: _wave(TONE[:1]), "decoded"),
    Hostile("FLAC cut in the middle", "audio", lambda: sound_file("FLAC")[:1500], "audio_decode"),
    Hostile("M4A cut in the middle", "audio", lambda: av_file("mp4", "aac")[:900], "audio_decode"),
    Hostile("playlist of other files", "audio", lambda: b"#EXTM3U\nfile:///etc/passwd\n", "audio_decode"),
    Hostile("empty caption", "text", lambda: b"", "caption_empty"),
    Hostile("caption of blanks", "text", lambda: b" \t\n\xe2\x80\x83", "caption_empty"),
    Hostile("caption of 1 MB", "text", lambda: b"a dog " * 175_000, "caption_bytes"),
    Hostile("caption in Latin-1", "text", lambda: "größer".encode("latin-1"), "caption_utf8"),
    Hostile("caption in UTF-16", "text", lambda: "a dog".encode("utf-16"), "caption_utf8"),
    Hostile("caption with a byte order mark", "text", lambda: b"\xef\xbb\xbfa dog", "decoded"),
    Hostile("caption with a zero byte", "text", lambda: b"a dog\0and more", "decoded"),
    Hostile("JSON without the field", "json", lambda: _json({"title": "a dog"}), "json_field"),
    Hostile("JSON that is a list", "json", lambda: _json(["a dog"]), "json"),
    Hostile("JSON nested 100,000 deep", "json", lambda: b"[" * 100_000, "json"),
    Hostile("JSON caption that is null", "json", lambda: _json({"captions": None}), "caption_type"),
    Hostile("JSON caption that is a number", "json", lambda: _json({"captions": [3]}), "caption_type"),
    Hostile("JSON caption of half a surrogate pair", "json", lambda: b'{"captions": "\\ud800"}', "caption_utf8"),
    Hostile("JSON of a number with 5,000 digits", "json", lambda: b'{"captions": ' + b"9" * 5000 + b"}", "json"),
    Hostile("JSON that repeats a key", "json", lambda: b'{"captions": 1, "captions": "a dog"}', "decoded"),
)  # fmt: skip
