"""Loading: ours beside open_clip's own pipeline on pictures, and beside LAION-CLAP's own on sounds.

The same shards, crop, resize, tokenizer and batch size; the peers are built by their packages' own functions
(benchmarks/loader_peers.py).  Rates are samples per second of processor time, workers included, both sides in turns:
other work on the machine changes them less than it changes seconds.  Ours hands over uint8 pictures, which the tower
normalises; a row of its own counts that as loading.  Pictures are decoded with ``decode: fast``.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from benchmarks.loader_peers import laion_clap_batches, open_clip_batches
from benchmarks.row import Row
from mmcontrast.data.decode import decode_image
from mmcontrast.data.loader import DataConfig, Loader
from mmcontrast.data.manifest import ColumnSpec, Manifest, ShardInfo, file_sha256, write_manifest
from mmcontrast.data.source import SourceConfig
from mmcontrast.data.transforms.image import ImageTransform, random_box, train_image
from mmcontrast.data.transforms.jpeg import train_jpeg
from mmcontrast.specs import AudioSpec, ImageSpec, InputSpec, TextSpec
from mmcontrast.tokenizers import TOKENIZERS

SIZE, BATCH_ROWS = 224, 32
WINDOW_SECONDS, RATE_HZ = 10.0, 48_000
CAPTION = "a photograph of number {} beside a wooden fence on a cloudy afternoon"
TEXT = TextSpec(tokenizer=TOKENIZERS.get("open_clip").Config(), context_length=77)
ROUNDS = 3  # turns of each side
MEMORY_ROWS = 20_000  # 100_000 for the long version


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
            rows.append(first_batch(shards, specs))  # before the set is known to this process
        for workers in (0, 2):
            peer = open_clip_batches(shards, size=SIZE, batch_rows=BATCH_ROWS, workers=workers)
            rates = in_turns(our_batches(shards, specs, workers), peer, batches=4 if count > 6 else 1)
            rows.append(ratio(f"pictures of {name}", *rates, f"{workers} workers; peer: open_clip's pipeline"))
        if count > 6:
            peer = open_clip_batches(shards, size=SIZE, batch_rows=BATCH_ROWS, workers=0)
            rates = in_turns(normalised(our_batches(shards, specs, 0)), peer, batches=4)
            setting = "0 workers, with the tower's normalisation; peer: open_clip's pipeline"
            rows.append(ratio(f"pictures of {name}", *rates, setting))
        rows += pixel_rows(name, images)
    return rows


def first_batch(shards: Path, specs: dict[str, InputSpec]) -> Row:
    """Processor seconds from opening the manifest to the first batch, in one process."""
    began = time.process_time()
    next(our_batches(shards, specs, 0))
    seconds = time.process_time() - began
    setting = "processor time, 0 workers, local manifest without an index; peer: the target"
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
    """Rates on clips as long as the window, on ones of Clotho's mean length, and on longer recordings."""
    rows = []
    specs: dict[str, InputSpec] = {"audio": AudioSpec(sample_rate_hz=RATE_HZ, seconds=WINDOW_SECONDS), "text": TEXT}
    for seconds in (10, 22, 60):
        clips = [flac(number, seconds) for number in range(4)]
        shards = write_tars(folder / f"sounds-{seconds}", "flac", clips, rows=96)
        peer = laion_clap_batches(shards, batch_rows=BATCH_ROWS, workers=2)
        rates = in_turns(our_batches(shards, specs, 2), peer, batches=1)
        setting = "48 kHz FLAC, window of 10 s, 2 workers; peer: LAION-CLAP's pipeline"
        rows.append(ratio(f"sounds of {seconds} s", *rates, setting))
    return rows


def flac(number: int, seconds: int) -> bytes:
    """Tones in coloured noise, 16 bits."""
    import soundfile

    rng = np.random.default_rng(number)
    time_seconds = np.arange(seconds * RATE_HZ) / RATE_HZ
    wave = sum(0.1 * np.sin(2 * np.pi * hz * time_seconds) for hz in rng.uniform(80, 4000, 4))
    noise = np.convolve(rng.standard_normal(len(wave)), np.ones(16) / 16, mode="same")
    stream = io.BytesIO()
    soundfile.write(stream, 0.5 * wave + 0.05 * noise, RATE_HZ, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


# ------------------------------------------------------------------ memory


def memory(folder: Path) -> list[Row]:
    """Resident memory after a tenth and after all of many samples, in one process."""
    tiny = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(tiny, "JPEG")
    shards = write_tars(folder / "tiny", "jpg", [tiny.getvalue()], rows=2000)
    batches = our_batches(shards, {"image": ImageSpec(size=8), "text": TEXT}, 0)
    resident = []
    for count in (MEMORY_ROWS // 10, MEMORY_ROWS - MEMORY_ROWS // 10):
        for _ in range(count // BATCH_ROWS):
            next(batches)
        resident.append(resident_megabytes())
    name, setting = f"memory after {MEMORY_ROWS:,} samples", f"peer: ours after {MEMORY_ROWS // 10:,}"
    return [ratio(name, resident[1], resident[0], setting, unit="MB", flip=True)]


def resident_megabytes() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


# ------------------------------------------------------------------ both sides


def our_batches(shards: Path, specs: dict[str, InputSpec], workers: int) -> Iterator[Any]:
    """Our loader, as training uses it."""
    source = SourceConfig(manifest=str(shards), image=ImageTransform(decode="fast"))
    config = DataConfig(sources={"set": source}, batch_rows=BATCH_ROWS, workers=workers)
    loader = Loader(config, seed=0, specs=specs)
    loader.seek(0, last=1_000_000)
    return loader


def normalised(batches: Iterator[Any]) -> Iterator[Any]:
    """The towers' normalisation of each batch's pictures."""
    mean, std = (255 * torch.tensor(each).view(3, 1, 1) for each in ((0.48, 0.46, 0.41), (0.27, 0.26, 0.28)))
    for loaded in batches:
        yield (loaded.batch.columns["image"].values - mean).div_(std)


@dataclass
class Side:
    """One side's batches, and the processor time that they cost."""

    batches: Iterator[Any]
    workers: list[int] = field(default_factory=list)  # process ids
    seconds: float = 0.0  # of this process

    def start(self) -> None:
        """Take the first batches, which start the workers."""
        before = {child.pid for child in active_children()}
        for _ in range(2):
            next(self.batches)
        self.workers = [child.pid for child in active_children() if child.pid not in before]  # type: ignore[misc]

    def run(self, count: int) -> None:
        """Take ``count`` batches."""
        began = time.process_time()
        for _ in range(count):
            next(self.batches)
        self.seconds += time.process_time() - began

    def settled(self) -> float:
        """Processor seconds of the workers so far, once they wait with full queues."""
        quiet = 0
        while self.workers and quiet < 3:
            time.sleep(0.1)
            quiet = 0 if any(_fields(worker)[0] in "RD" for worker in self.workers) else quiet + 1
        ticks = sum(int(each) for worker in self.workers for each in _fields(worker)[11:13])
        return ticks / os.sysconf("SC_CLK_TCK")


def in_turns(ours: Iterator[Any], peer: Iterator[Any], *, batches: int) -> tuple[float, float]:
    """Samples per second of processor time of both sides; workers begin and end with full queues."""
    sides = (Side(ours), Side(peer))
    for side in sides:
        side.start()
    before = [side.settled() for side in sides]
    for _ in range(ROUNDS):
        for side in sides:
            side.run(batches)
    spent = [side.seconds + side.settled() - began for side, began in zip(sides, before, strict=True)]
    rows = ROUNDS * batches * BATCH_ROWS
    return rows / spent[0], rows / spent[1]


def _fields(process: int) -> list[str]:
    """State and counters of a process, from the third field of its stat file on."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


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
