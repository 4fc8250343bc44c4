"""Small media files of all formats that are read, mutations of their bytes, and what the decoders make of them."""

from __future__ import annotations

import io
import json
import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import soundfile
from PIL import Image

from mmcontrast.data.decode import decode_audio
from mmcontrast.data.limits import Limits
from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.data.order import generator
from mmcontrast.data.row_captions import read_captions
from mmcontrast.data.shards import RawRow
from mmcontrast.data.transforms.audio import AudioTransform, train_audio
from mmcontrast.data.transforms.image import ImageTransform, train_image
from mmcontrast.data.transforms.jpeg import is_jpeg, train_jpeg
from mmcontrast.data.transforms.text import TextTransform, train_text
from mmcontrast.data.transforms.window import random_window
from mmcontrast.errors import SkipSample
from mmcontrast.specs import AudioSpec

LIMITS = Limits()
SIZE = 16
SOUND = AudioSpec(sample_rate_hz=8000, seconds=0.25)
RATE = 8000


def image_file(format: str, mode: str = "RGB", **options: object) -> bytes:
    """A picture of noise and a gradient."""
    rng = np.random.default_rng(0)
    pixels = (np.linspace(0, 180, 48)[None, :, None] + rng.integers(0, 60, (32, 48, 3))).astype(np.uint8)
    image = Image.fromarray(pixels)
    image = image.quantize(16) if mode == "P" else image.convert(mode)
    stream = io.BytesIO()
    image.save(stream, format, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def sound_file(format: str, subtype: str | None = None, *, rate: int = RATE, seconds: float = 0.5) -> bytes:
    """A chirp."""
    at = np.arange(int(seconds * rate)) / rate
    stream = io.BytesIO()
    soundfile.write(stream, 0.5 * np.sin(2 * np.pi * (300 + 600 * at) * at), rate, format=format, subtype=subtype)
    return stream.getvalue()


def av_file(container: str, codec: str) -> bytes:
    """A chirp through FFmpeg."""
    import av

    rate = 48_000 if codec == "libopus" else 16_000
    at = np.arange(rate // 2) / rate
    wave = (0.5 * np.sin(2 * np.pi * (300 + 600 * at) * at)).astype(np.float32)
    stream = io.BytesIO()
    with av.open(stream, "w", format=container) as out:
        track = out.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=track.format.name, layout="mono", rate=rate)
        fifo = av.AudioFifo()
        for piece in resampler.resample(frame):
            fifo.write(piece)
        for piece in fifo.read_many(track.frame_size or 1024, partial=True):
            out.mux(track.encode(piece))
        out.mux(track.encode(None))
    return stream.getvalue()


FORMATS: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "jpeg": ("image", lambda: image_file("JPEG")),
    "jpeg progressive": ("image", lambda: image_file("JPEG", progressive=True)),
    "png": ("image", lambda: image_file("PNG", "RGBA")),
    "png 16 bits": ("image", lambda: image_file("PNG", "I;16")),
    "png palette": ("image", lambda: image_file("PNG", "P")),
    "webp": ("image", lambda: image_file("WEBP")),
    "gif": ("image", lambda: image_file("GIF")),
    "bmp": ("image", lambda: image_file("BMP")),
    "tiff": ("image", lambda: image_file("TIFF")),
    "tiff lzw": ("image", lambda: image_file("TIFF", compression="tiff_lzw")),
    "wav": ("audio", lambda: sound_file("WAV", "PCM_16")),
    "wav float": ("audio", lambda: sound_file("WAV", "FLOAT")),
    "flac": ("audio", lambda: sound_file("FLAC")),
    "aiff": ("audio", lambda: sound_file("AIFF")),
    "ogg vorbis": ("audio", lambda: sound_file("OGG", "VORBIS")),
    "ogg opus": ("audio", lambda: sound_file("OGG", "OPUS")),
    "mp3": ("audio", lambda: sound_file("MP3")),
    "m4a": ("audio", lambda: av_file("mp4", "aac")),
    "webm": ("audio", lambda: av_file("webm", "libopus")),
    "txt": ("text", lambda: "a red square, and a blue one: größer, 紅 😀".encode()),
    "json": ("json", lambda: json.dumps({"captions": ["a red square", "größer"], "thing": {"a": [1, 2]}}).encode()),
}


@cache
def original(name: str) -> bytes:
    """The untouched file of a format."""
    return FORMATS[name][1]()


def _flip(content: bytes, other: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _edit_header(content: bytes, other: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(min(80, len(changed)))
        changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(changed)


def _edit_number(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """Put an extreme 32-bit number where a length or a count may stand."""
    at = rng.randrange(max(1, len(content) - 4))
    number = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x00FFFFFF))
    return content[:at] + number.to_bytes(4, rng.choice(("little", "big"))) + content[at + 4 :]


def _truncate(content: bytes, other: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _splice(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """The beginning of one file and the end of another."""
    return content[: rng.randrange(len(content))] + other[rng.randrange(len(other)) :]


def _insert(content: bytes, other: bytes, rng: random.Random) -> bytes:
    at, start = rng.randrange(len(content)), rng.randrange(len(other))
    return content[:at] + other[start : start + rng.randrange(1, 256)] + content[at:]


def _zeros(content: bytes, other: bytes, rng: random.Random) -> bytes:
    at, length = rng.randrange(len(content)), rng.choice((4, 16, 64, 512))
    return content[:at] + bytes(min(length, len(content) - at)) + content[at + length :]


def _noise(content: bytes, other: bytes, rng: random.Random) -> bytes:
    at, length = rng.randrange(len(content)), rng.randrange(1, 256)
    return content[:at] + rng.randbytes(min(length, len(content) - at)) + content[at + length :]


MUTATIONS = (_flip, _edit_header, _edit_number, _truncate, _splice, _insert, _zeros, _noise)


def mutant(seed: int) -> tuple[str, bytes]:
    """Format and bytes of one mutant."""
    rng = random.Random(seed)
    names = list(FORMATS)
    name = names[seed % len(names)]
    other = name if rng.random() < 0.7 else rng.choice(names)
    return name, rng.choice(MUTATIONS)(original(name), original(other), rng)


def outcome(kind: str, content: bytes, *, limits: Limits = LIMITS) -> str:
    """Make a view of the bytes as training does: "decoded", or the cause why not.

    Raises:
        AssertionError: a view of a wrong shape, or not finite.
    """
    try:
        if kind == "image":
            _view_image(content, limits)
        elif kind == "audio":
            _view_audio(content, limits)
        else:
            _view_text(kind, content, limits)
    except SkipSample as error:
        assert error.cause != "other", str(error)
        return error.cause
    return "decoded"


def _view_image(content: bytes, limits: Limits) -> None:
    from mmcontrast.data.decode import decode_image

    def make_rng() -> np.random.Generator:
        return generator("fuzz", 0)

    config = ImageTransform()
    if is_jpeg(content):
        view = train_jpeg(content, config, size=SIZE, make_rng=make_rng, key="fuzz", limits=limits)
    else:
        image = decode_image(content, key="fuzz", limits=limits)
        view = train_image(image, config, size=SIZE, rng=make_rng())
    assert view.shape == (3, SIZE, SIZE) and view.dtype == np.uint8


def _view_audio(content: bytes, limits: Limits) -> None:
    rng = generator("fuzz", 0)
    wave = random_window(content, AudioTransform(), SOUND, rng=rng, limits=limits)
    if wave is None:
        wave = decode_audio(content, key="fuzz", sample_rate_hz=SOUND.sample_rate_hz, limits=limits)
    view = train_audio(wave, AudioTransform(), SOUND, rng=rng)
    assert view.shape == (SOUND.samples,) and view.dtype == np.float32 and np.isfinite(view).all()


def _view_text(kind: str, content: bytes, limits: Limits) -> None:
    extension, name = ("json", "captions") if kind == "json" else ("txt", None)
    column = ColumnSpec(modality="text", extension=extension, field=name)
    captions = read_captions(RawRow("fuzz", {extension: content}), column, TextTransform(), limits=limits)
    text = train_text(captions, TextTransform(), lambda: generator("fuzz", 0))
    assert text.strip() and text.encode()


@dataclass
class MediaResult:
    """What became of the mutants."""

    mutants: int = 0
    slowest_seconds: float = 0.0
    rss_growth_bytes: int = 0
    decoded: Counter[str] = field(default_factory=Counter)  # by format
    causes: Counter[str] = field(default_factory=Counter)


def fuzz_media(mutants: int) -> MediaResult:
    """Decode mutants; a failure without a name is raised with the mutant's seed.

    Raises:
        AssertionError: a mutant ended in an exception that is no SkipSample.
    """
    for name in FORMATS:  # what a first call loads is no growth of mutants
        assert outcome(FORMATS[name][0], original(name)) == "decoded", name
    result = MediaResult()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(mutants):
        name, content = mutant(seed)
        start = time.process_time()
        try:
            found = outcome(FORMATS[name][0], content)
        except Exception as error:
            raise AssertionError(f"seed {seed}, {name}: {type(error).__name__}: {error}") from error
        result.slowest_seconds = max(result.slowest_seconds, time.process_time() - start)
        result.mutants += 1
        if found == "decoded":
            result.decoded[name] += 1
        else:
            result.causes[found] += 1
    result.rss_growth_bytes = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return result
