"""clip_benchmark's WebDataset layout, as the wds_* sets on the Hugging Face hub have it."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.data.shards import Member, index_shard
from mmcontrast.errors import ConfigError, SkipSample
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, read_text

PICTURES = ("webp", "png", "jpg", "jpeg")


@READERS.register("clip_benchmark")
class ClipBenchmark:
    """``SPLIT/nshards.txt``, ``SPLIT/0.tar`` and so on, ``classnames.txt``, templates with ``{c}`` or ``{}``.

    A member ``.cls`` holds a class number, ``.npy`` a vector of zeros and ones, ``.txt`` one caption a line.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder with classnames.txt and one folder a split
        split: str = "test"

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """Index every shard."""
        root, split = self.config.root, self.config.split
        folder = existing(existing(root, what="a clip_benchmark set") / split, what=f"split '{split}'")
        count = read_text(existing(folder / "nshards.txt", what="the number of shards")).strip()
        if not count.isdigit():
            raise ConfigError(f"'{folder / 'nshards.txt'}' should hold a number, got '{count[:20]}'.")
        classes, prompts = _lines(root / "classnames.txt"), _lines(root / "zeroshot_classification_templates.txt")
        entries = []
        for number in range(int(count)):
            shard = existing(folder / f"{number}.tar", what=f"shard {number} of {count}")
            for key, members in index_shard(shard).items():
                entries.append(_entry(shard, f"{number}/{key}", members, classes))
        return Listed(root.name, entries, classes=tuple(classes), prompts=tuple(prompts))


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in read_text(path).splitlines() if line.strip()] if path.is_file() else []


def _entry(shard: Path, key: str, members: dict[str, Member], classes: list[str]) -> Entry:
    extension = next((each for each in PICTURES if each in members), None)
    media, extensions = {}, {}
    if extension is not None:
        media = {"image": partial(member_bytes, shard, members[extension])}
        extensions = {"image": extension}
    return Entry(key, _info(shard, key, members, classes), media, extensions)  # type: ignore[arg-type]


def _info(shard: Path, key: str, members: dict[str, Member], classes: list[str]) -> dict[str, Any]:
    if "cls" in members:
        text = member_bytes(shard, members["cls"]).decode("ascii", errors="replace").strip()
        if not text.isdigit() or (classes and int(text) >= len(classes)):
            raise ConfigError(f"'{shard}' row '{key}': class '{text[:20]}' is not one of {len(classes)} classes.")
        return {"class": int(text), "label": classes[int(text)] if classes else text}
    if "npy" in members:
        flags = _vector(member_bytes(shard, members["npy"]), key)
        if len(flags) != len(classes):
            raise ConfigError(f"'{shard}' row '{key}': {len(flags)} flags for {len(classes)} classes.")
        return {"labels": [name for name, flag in zip(classes, flags, strict=True) if flag]}
    if "txt" in members:
        text = member_bytes(shard, members["txt"]).decode("utf-8", errors="replace")
        return {"captions": [line.strip() for line in text.splitlines() if line.strip()]}
    raise ConfigError(f"'{shard}' row '{key}' has none of .cls, .npy, .txt; it has: {', '.join(members)}.")


def _vector(content: bytes, key: str) -> list[int]:
    import numpy as np

    try:
        return [int(value) for value in np.load(io.BytesIO(content), allow_pickle=False).ravel()]
    except (ValueError, EOFError, OSError) as error:
        raise SkipSample(f"{key}: .npy member does not read: {error}") from error


def member_bytes(shard: Path, member: Member) -> bytes:
    """Read one file out of a tar, by position."""
    with shard.open("rb") as stream:
        stream.seek(member.offset)
        return stream.read(member.size)
