"""Loading: ours beside open_clip's own pipeline on pictures, and beside LAION-CLAP's own on sounds.

The same shards, crop, resize, tokenizer and batch size; the peers are built by their packages' own functions
(benchmarks/loader_peers.py).  Each side has a process of its own and runs as its users run it: ours with the memory
allocator's setting that ``mmcontrast train`` makes on a CPU.  Rates are samples per second of processor time, workers
included, both sides in turns: other work on the machine changes them less than it changes seconds.  Ours hands over
uint8 pictures, which the tower normalises; a row of its own counts that as loading.  Pictures are decoded with
``decode: fast``.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from benchmarks.loader_peers import laion_clap_batches, open_clip_batches
from benchmarks.loader_side import FIRST_BATCHES, Side, in_turns
from benchmarks.row import Row
from mmcontrast.allocator import keep_freed_memory
from mmcontrast.data.decode import decode_image
from mmcontrast.data.loader import DataConfig, Loader
from mmcontrast.data.manifest import ColumnSpec, Manifest, ShardInfo, file_sha256, write_manifest
from mmcontrast.data.source import SourceConfig
from mmcontrast.data.transforms.image import ImageTransform, random_box, train_image
from mmcontrast.data.transforms.jpeg import train_jpeg
from mmcontrast.specs import AudioSpec, ImageSpec, InputSpec, TextSpec
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.towers.pixels import normalised as normalised_pixels

SIZE, BATCH_ROWS = 224, 32
WINDOW_SECONDS, RATE_HZ = 10.0, 48_000
CAPTION = "a photograph of number {} beside a wooden fence on a cloudy afternoon"
TEXT = TextSpec(tokenizer=TOKENIZERS.get("open_clip").Config(), context_length=77)
ROUNDS = 7  # turns of each side
MEMORY_ROWS = (10_000, 20_000, 50_000, 100_000)  # samples after which memory is looked at


def measure() -> list[Row]:
    """Every row of the table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return [*pictures(Path(folder)), *sounds(Path(folder)), *memory(Path(folder))]


# ------------------------------------------------------------------ pictures


def pictures(folder: Path) -> list[Row]:
    """Rates with 0 and 2 workers, time to the first batch, and what the scaled decoder changes."""
    rows = []
    specs: dict[str, InputSpec] = {"image": ImageSpec(size=SIZE), "text": TEXT}
    for name, sides, count in (("256-512 px", (256, 513), 64), ("1024-1600 px", (1024, 1601), 6)):
        images = [jpeg(number, sides) for number in range(count)]
        shards = write_tars(folder / f"pictures-{sides[0]}", "jpg", images, rows=800 if count > 6 else 200)
        if count > 6:
            rows.append(first_batch(shards, specs))
        for workers in (0, 2):
            ours = partial(our_batches, shards, specs, workers)
            peer = partial(open_clip_batches, shards, size=SIZE, batch_rows=BATCH_ROWS, workers=workers)
            setting = f"{workers} workers; peer: open_clip's pipeline"
            batches = 6 if count > 6 else 1
            rows.append(rates(f"pictures of {name}", ours, peer, setting, batches=batches))
            if workers == 0 and count > 6:
                ours = partial(normalised, shards, specs)
                setting = f"0 workers, with the tower's normalisation; {setting.partition('; ')[2]}"
                rows.append(rates(f"pictures of {name}", ours, peer, setting, batches=batches))
        rows += pixel_rows(name, images)
    return rows


def first_batch(shards: Path, specs: dict[str, InputSpec]) -> Row:
    """Processor seconds from opening the manifest to the first batch, in one process."""
    with Side(partial(our_batches, shards, specs, 0)) as side:
        seconds = side.first_seconds
    setting = "processor time, 0 workers, local manifest without an index, after the imports; peer: the target"
    return ratio("first batch", seconds, 2.0, setting, unit="s", flip=True)


def jpeg(number: int, sides: tuple[int, int]) -> bytes:
    """A picture with smooth parts, edges and noise, quality 90: 2.7 bits a pixel, as photographs have."""
    rng = np.random.default_rng(number)
    width, height = (int(each) for each in rng.integers(*sides, size=2))
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    pixels[height // 3 : height // 2, width // 4 : width // 2] = rng.integers(0, 256, 3)
    pixels += rng.integers(-10, 11, (height, width, 1), dtype=np.int16)
    stream = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def pixel_rows(name: str, images: list[bytes]) -> list[Row]:
    """Mean difference, of 255, from torchvision's crop and resize through PIL, of every mode."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resized_crop

    modes: tuple[Literal["scaled", "fast", "exact"], ...] = ("scaled", "fast", "exact")
    differences: dict[str, list[float]] = {mode: [] for mode in modes}
    for number, content in enumerate(images):
        make_rng = partial(np.random.default_rng, number)
        image = decode_image(content, key="")
        box = random_box(image.width, image.height, ImageTransform(), make_rng())
        left, top, right, bottom = (round(each) for each in box)
        place = (top, left, bottom - top, right - left)
        reference = np.asarray(resized_crop(image, *place, [SIZE, SIZE], InterpolationMode.BICUBIC)).transpose(2, 0, 1)
        for mode in modes:
            config = ImageTransform(decode=mode)
            if mode == "exact":
                view = train_image(image, config, size=SIZE, rng=make_rng())
            else:
                view = train_jpeg(content, config, size=SIZE, make_rng=make_rng, key="")
            differences[mode].append(float(np.abs(view.astype(int) - reference).mean()))
    means = {mode: float(np.mean(found)) for mode, found in differences.items()}
    about = "mean, of 255, to torchvision's crop of whole pixels; peer: the exact mode, which crops parts of pixels"
    return [
        ratio(
            f"pixel difference, {mode}, {name}",
            means[mode],
            means["exact"],
            f"{about}; largest mean of a picture {max(differences[mode]):.2f}",
            unit="levels",
            flip=True,
        )
        for mode in modes[:2]
    ]


# ------------------------------------------------------------------ sounds


def sounds(folder: Path) -> list[Row]:
    """Rates on clips as long as the window, on ones of Clotho's mean length, and on longer recordings; on stereo too.

    Of a clip as long as the window all is decoded, which is nearly all of our time.  Of two channels LAION-CLAP's
    loader takes the first, ours the mean.
    """
    rows = []
    specs: dict[str, InputSpec] = {"audio": AudioSpec(sample_rate_hz=RATE_HZ, seconds=WINDOW_SECONDS), "text": TEXT}
    for seconds, channels in ((10, 1), (10, 2), (22, 1), (60, 1)):
        clips = [flac(number, seconds, channels=channels) for number in range(4)]
        shards = write_tars(folder / f"sounds-{seconds}-{channels}", "flac", clips, rows=96)
        ours = partial(our_batches, shards, specs, 2)
        peer = partial(laion_clap_batches, shards, batch_rows=BATCH_ROWS, workers=2)
        setting = "48 kHz FLAC, window of 10 s, 2 workers; peer: LAION-CLAP's pipeline"
        name = f"{'stereo ' if channels == 2 else ''}sounds of {seconds} s"
        rows.append(rates(name, ours, peer, setting, batches=1))
    return rows


def flac(number: int, seconds: int, *, rate_hz: int = RATE_HZ, channels: int = 1) -> bytes:
    """Tones in coloured noise, 16 bits; each channel has its own."""
    import soundfile

    rng = np.random.default_rng(number)
    time_seconds = np.arange(seconds * rate_hz) / rate_hz
    waves = []
    for _ in range(channels):
        wave = sum(0.1 * np.sin(2 * np.pi * hz * time_seconds) for hz in rng.uniform(80, 4000, 4))
        noise = np.convolve(rng.standard_normal(len(time_seconds)), np.ones(16) / 16, mode="same")
        waves.append(0.5 * wave + 0.05 * noise)
    stream = io.BytesIO()
    soundfile.write(stream, np.stack(waves, axis=1), rate_hz, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


# ------------------------------------------------------------------ memory


def memory(folder: Path) -> list[Row]:
    """Resident memory of one process over many samples."""
    tiny = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(tiny, "JPEG")
    shards = write_tars(folder / "tiny", "jpg", [tiny.getvalue()], rows=2000)
    resident: list[float] = []
    with Side(partial(our_batches, shards, {"image": ImageSpec(size=8), "text": TEXT}, 0)) as side:
        done = FIRST_BATCHES
        for count in MEMORY_ROWS:
            side.run(count // BATCH_ROWS - done)
            done = count // BATCH_ROWS
            resident.append(side.resident_megabytes())
    setting = f"pictures of 8 px, 0 workers; peer: ours after {MEMORY_ROWS[0]:,}"
    return [
        ratio(f"memory after {count:,} samples", found, resident[0], setting, unit="MB", flip=True)
        for count, found in zip(MEMORY_ROWS[1:], resident[1:], strict=True)
    ]


# ------------------------------------------------------------------ both sides


def our_batches(shards: Path, specs: dict[str, InputSpec], workers: int) -> Iterator[Any]:
    """Our loader, as training uses it."""
    keep_freed_memory()
    source = SourceConfig(manifest=str(shards), image=ImageTransform(decode="fast"))
    config = DataConfig(sources={"set": source}, batch_rows=BATCH_ROWS, workers=workers)
    loader = Loader(config, seed=0, specs=specs)
    loader.seek(0, last=1_000_000)
    return loader


def normalised(shards: Path, specs: dict[str, InputSpec]) -> Iterator[Any]:
    """The towers' normalisation of each batch's pictures."""
    mean, std = (255 * torch.tensor(each).view(3, 1, 1) for each in ((0.48, 0.46, 0.41), (0.27, 0.26, 0.28)))
    for loaded in our_batches(shards, specs, 0):
        yield normalised_pixels(loaded.batch.columns["image"].values, mean, std)


def rates(
    name: str, ours: Callable[[], Iterator[Any]], peer: Callable[[], Iterator[Any]], setting: str, *, batches: int
) -> Row:
    """A row of samples per second of processor time of both sides."""
    rows = ROUNDS * batches * BATCH_ROWS
    seconds = in_turns(ours, peer, batches=batches, rounds=ROUNDS)
    return ratio(name, rows / seconds[0], rows / seconds[1], setting)


def write_tars(folder: Path, extension: str, contents: list[bytes], *, rows: int, shards: int = 4) -> Path:
    """Write shards whose rows go round ``contents``, with a caption each and a manifest."""
    import json
    import tarfile

    folder.mkdir()
    infos = []
    for shard in range(shards):
        path = folder / f"set-{shard:04d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for row in range(shard, rows, shards):
                caption = CAPTION.format(row)
                members = {
                    extension: contents[row % len(contents)],
                    "txt": caption.encode(),
                    "json": json.dumps({"text": caption}).encode(),
                }
                for suffix, content in members.items():
                    entry = tarfile.TarInfo(f"{row:06d}.{suffix}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
        size = len(range(shard, rows, shards))
        infos.append(ShardInfo(path=path.name, rows=size, bytes=path.stat().st_size, sha256=file_sha256(path)))
    modality = "audio" if extension == "flac" else "image"
    columns = {
        modality: ColumnSpec(modality=modality, extension=extension),
        "text": ColumnSpec(modality="text", extension="txt"),
    }
    write_manifest(Manifest(name="set", columns=columns, shards=tuple(infos)), folder)
    return folder


def ratio(
    name: str, ours: float, peer: float, setting: str, *, unit: str = "samples/s/core", flip: bool = False
) -> Row:
    """A row; ``flip`` where less is better."""
    return Row(name=name, ours=ours, peer=peer, ratio=peer / ours if flip else ours / peer, unit=unit, setting=setting)
