"""Making probes and hard negatives: captions per second, and what negatives take of a loader's rate.

Rates are per second of processor time: other work on the machine changes them less than it changes seconds.  The
makers' peer is the target of 1,000 captions per second and core with the tagger that needs nothing; that tagger stands
beside HanTa, a statistical one.  The loader with negatives stands beside itself without.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.loader import BATCH_ROWS, SIZE, TEXT, jpeg, rates, ratio, write_tars
from benchmarks.row import Row
from mmcontrast.allocator import keep_freed_memory
from mmcontrast.config import parse
from mmcontrast.data.loader import DataConfig, Loader
from mmcontrast.evaluate.collection import Entry, Listed
from mmcontrast.language.taggers.base import build_tagger
from mmcontrast.probes import MAKERS
from mmcontrast.specs import ImageSpec, InputSpec

CAPTIONS = 2000
TURNS = 24  # batches of a side before the other's turn
TARGET = 1000.0  # captions a second and core
THINGS = ["dog", "cat", "man", "woman", "horse", "table", "bridge", "train", "bus", "tree", "bird", "child", "kite"]
KINDS = ["small", "big", "red", "wooden", "old", "young", "yellow", "wet", "green", "happy"]
ACTIONS = ["chases", "holds", "rides", "passes", "watches", "carries"]
PLACES = ["near", "under", "behind", "above", "in", "on"]


def measure() -> list[Row]:
    """Every row of the table."""
    torch.set_num_threads(1)
    rows = [makers("order"), makers("swap"), makers("attribute"), makers("negation"), taggers()]
    with tempfile.TemporaryDirectory() as folder:
        return [*rows, loader(Path(folder))]


def captions(count: int = CAPTIONS) -> list[str]:
    """Captions of eleven words, as COCO's are."""
    rng = np.random.default_rng(0)

    def one(words: list[str]) -> str:
        return words[int(rng.integers(len(words)))]

    return [
        f"a {one(KINDS)} {one(THINGS)} {one(ACTIONS)} a {one(KINDS)} {one(THINGS)} {one(PLACES)} the {one(THINGS)}"
        for _ in range(count)
    ]


def rate(call: Callable[[], object], count: int) -> float:
    """Calls' units per second of processor time."""
    began = time.process_time()
    call()
    return count / (time.process_time() - began)


def makers(kind: str) -> Row:
    """Captions per second, items written out as they will be stored."""
    texts = captions()
    media: dict[str, Path | Callable[[], bytes]] = {"image": Path("unread.png")}
    collection = Listed(
        "captions", [Entry(f"{place:06d}", {"caption": text}, media) for place, text in enumerate(texts)]
    )
    maker = MAKERS.build(parse(MAKERS.get(kind).Config, {}), collection=collection)
    ours = rate(lambda: list(maker.items()), len(texts))
    setting = f"{len(texts):,} captions of {len(texts[0].split())} words, tagger light; peer: the target"
    return ratio(f"probe make {kind}", ours, TARGET, setting, unit="captions/s/core")


def taggers() -> Row:
    """The default tagger beside HanTa."""
    texts = captions()
    found = []
    for name in ("light", "hanta"):
        tagger = build_tagger(name)
        tagger.tag(texts[0])
        found.append(rate(lambda tagger=tagger: [tagger.tag(text) for text in texts], len(texts)))  # type: ignore[misc]
    return ratio("tagger", found[0], found[1], "light; peer: hanta", unit="captions/s/core")


def loader(folder: Path) -> Row:
    """Pictures and captions with a caption made wrong beside each."""
    shards = write_tars(folder / "pictures", "jpg", [jpeg(number, (256, 513)) for number in range(64)], rows=800)
    sides = (partial(batches, shards, negatives=True), partial(batches, shards, negatives=False))
    setting = "pictures of 256-512 px, open_clip's tokenizer, 0 workers; peer: without the negative caption"
    return rates("loader with negative_caption", *sides, setting, batches=TURNS)


def batches(shards: Path, *, negatives: bool) -> Iterator[Any]:
    """Our loader, with or without a derived column."""
    keep_freed_memory()
    derive = {"text.negative": {"type": "negative_caption"}} if negatives else {}
    source = {"manifest": str(shards), "image": {"decode": "fast"}, "derive": derive}
    config = parse(DataConfig, {"sources": {"set": source}, "batch_rows": BATCH_ROWS, "workers": 0})
    specs: dict[str, InputSpec] = {"image": ImageSpec(size=SIZE), "text": TEXT}
    specs |= dict.fromkeys(derive, TEXT)
    made = Loader(config, seed=0, specs=specs)
    made.seek(0, last=1_000_000)
    return made
