"""Reading rows by an index beside reading tars from end to end with webdataset; opening a set with and without one.

Rates are per second of processor time, in one process, of files that the page cache holds.  Both sides hand over the
bytes of each sample's members; ours compares them with their crc32 as well.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.row import Row
from mmcontrast.data.indexing import index_set
from mmcontrast.data.shards import ShardSet

SHARDS, ROWS = 8, 1500  # rows of a shard
MEDIA_BYTES = 8_000
TURNS = 3


def measure() -> list[Row]:
    """Rows a second in order and at random, MB a second of indexing, seconds to open."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "set"
        files = write_tars(folder)
        began = time.process_time()
        done = index_set(str(folder))
        indexing = done.bytes_read / 1e6 / (time.process_time() - began)
        shards = ShardSet(folder)
        total = len(shards)
        shuffled = np.random.default_rng(0).permutation(total).tolist()
        peer = fastest(lambda: consume(webdataset_rows(files)))
        in_order = fastest(lambda: consume(shards[row] for row in range(total)))
        at_random = fastest(lambda: consume(shards[row] for row in shuffled))
        opened = fastest(lambda: ShardSet(folder))
        (folder / "index.bin").unlink()
        scanned = fastest(lambda: ShardSet(folder))
    setting = f"{total:,} rows of {MEDIA_BYTES / 1000:.0f} kB in {SHARDS} shards, one process, warm"
    rates = f"{setting}; peer: webdataset, in file order"
    megabytes = total * MEDIA_BYTES / 1e6
    return [
        row("rows in order", total / in_order, total / peer, "rows/s", rates),
        row("rows at random", total / at_random, total / peer, "rows/s", rates),
        row("indexing", indexing, megabytes / peer, "MB/s", f"{setting}; peer: webdataset reads the same bytes"),
        Row(
            name="opening a set",
            ours=opened,
            peer=scanned,
            ratio=scanned / opened,
            unit="s",
            setting=f"{setting}; peer: ours without an index, which reads every header",
        ),
    ]


def write_tars(folder: Path) -> list[str]:
    """Shards of a random medium and a caption a row."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    files = []
    for shard in range(SHARDS):
        path = folder / f"set-{shard:04d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(ROWS):
                for extension, content in (("jpg", rng.bytes(MEDIA_BYTES)), ("txt", b"a caption of some words")):
                    entry = tarfile.TarInfo(f"{shard:02d}-{number:06d}.{extension}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
        files.append(str(path))
    return files


def webdataset_rows(files: list[str]) -> Iterable[Any]:
    """Samples of webdataset's own reader, undecoded."""
    import webdataset

    return webdataset.DataPipeline(webdataset.SimpleShardList(files), webdataset.tarfile_to_samples())


def consume(rows: Iterable[Any]) -> None:
    """Take every row."""
    count = sum(1 for _ in rows)
    assert count == SHARDS * ROWS, f"{count} rows came out"


def fastest(work: Callable[[], Any]) -> float:
    """Processor seconds of the best of a few turns."""
    seconds = []
    for _ in range(TURNS):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


def row(name: str, ours: float, peer: float, unit: str, setting: str) -> Row:
    """A row of rates."""
    return Row(name=name, ours=ours, peer=peer, ratio=ours / peer, unit=unit, setting=setting)
