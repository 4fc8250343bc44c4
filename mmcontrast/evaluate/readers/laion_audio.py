"""LAION-CLAP's zero-shot sets: tars of ``.flac`` and ``.json``, with a map of class names."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.data.shards import index_shard
from mmcontrast.errors import ConfigError, MissingData
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.names import class_names
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, read_json
from mmcontrast.evaluate.readers.clip_benchmark import member_bytes

SOUNDS = ("flac", "wav", "ogg", "mp3")


@READERS.register("laion_audio")
class LaionAudio:
    """``SPLIT/*.tar`` whose json holds ``tag`` or ``tags``; another json maps each class name to its number."""

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of the set
        split: str = "test"
        labels: str | None = None  # json of class names below root; null: the tags of the rows

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """Index every tar of the split."""
        folder = existing(existing(self.config.root, what="a LAION set") / self.config.split, what="the split")
        shards = sorted(folder.glob("*.tar"))
        if not shards:
            raise MissingData(f"no .tar under '{folder}'.")
        entries = []
        for shard in shards:
            for key, members in index_shard(shard).items():
                sound = next((each for each in SOUNDS if each in members), None)
                if "json" not in members:
                    raise ConfigError(f"'{shard}' row '{key}' has no .json member.")
                info = _info(member_bytes(shard, members["json"]), shard, key)
                media = {} if sound is None else {"audio": partial(member_bytes, shard, members[sound])}
                entries.append(Entry(f"{shard.stem}/{key}", info, media, {"audio": sound or ""}))  # type: ignore[arg-type]
        found = {label for entry in entries for label in entry.info["labels"]}
        return Listed(self.config.root.name, entries, classes=tuple(self._classes(found)))

    def _classes(self, found: set[str]) -> list[str]:
        if self.config.labels is None:
            return sorted(found)
        tree = read_json(existing(self.config.root / self.config.labels, what="class names"), dict)
        names = [str(name) for name, _ in sorted(tree.items(), key=lambda pair: int(pair[1]))]
        unknown = found - set(names)
        if unknown:
            raise ConfigError(f"tag '{min(unknown)}' is no class of '{self.config.labels}'.")
        return class_names(None, names)


def _info(content: bytes, shard: Path, key: str) -> dict[str, Any]:
    try:
        tree = json.loads(content.decode("utf-8"))
        tags = tree.get("tag", tree.get("tags"))
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"'{shard}' row '{key}': .json is not a map: {error}") from error
    tags = [tags] if isinstance(tags, str) else tags
    if not isinstance(tags, list) or not tags:
        raise ConfigError(f"'{shard}' row '{key}': no 'tag' or 'tags'.")
    labels = [str(tag) for tag in tags]
    return {"labels": labels, "label": labels[0]} | ({"text": tree["text"]} if "text" in tree else {})
