"""Media with a JSON of the same name beside it: LAION-Audio-630K's and img2dataset's layout, loose or in folders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipelines.readers import READERS
from data_pipelines.readers.base import Item, Reader, ReaderConfig, existing, files_under, medium_of
from mmcontrast.config import config
from mmcontrast.errors import ShardError, SkipSample


@READERS.register("laion")
class LaionReader(Reader):
    """``NAME.flac`` or ``NAME.jpg`` beside ``NAME.json`` with captions and tags.

    Source: Wu et al. 2023, arXiv:2211.06687, for LAION-Audio-630K; img2dataset writes pictures the same way.
    """

    @config
    class Config(ReaderConfig):
        """Where, and which JSON fields are what."""

        folder: str  # searched with its subfolders
        captions: tuple[str, ...] = ("text", "caption")  # the first of these fields that a row has
        tags: tuple[str, ...] = ("tag", "tags")  # the first that a row has is kept as "tags"
        keep: tuple[str, ...] = ()  # further fields copied into the row

    def items(self) -> Iterator[Item]:
        """Samples by path.  A JSON that cannot be read is left to the job, which names it."""
        root = existing(self.config.folder, what="reader.folder", folder=True)
        found = False
        for path in files_under(root):
            modality = medium_of(path.suffix)
            if modality is None:
                continue
            found = True
            name = path.relative_to(root).with_suffix("").as_posix()
            try:
                info = self._info(path.with_suffix(".json"))
            except SkipSample as error:
                yield Item(id=name, refused=("text is missing or not readable", str(error)))
                continue
            yield Item(id=name, media={modality: str(path)}, info=info)
        if not found:
            raise ShardError(f"no picture and no sound under '{root}'.")

    def _info(self, path: Path) -> dict[str, Any]:
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise SkipSample(f"'{path}': {error}") from error
        if not isinstance(tree, dict):
            raise SkipSample(f"'{path}' holds no map")
        given: Any = next((tree[name] for name in self.config.captions if tree.get(name)), [])
        info: dict[str, Any] = {"captions": [given] if isinstance(given, str) else given}
        tags = next((tree[name] for name in self.config.tags if tree.get(name)), None)
        if tags is not None:
            info["tags"] = tags
        return info | {name: tree[name] for name in self.config.keep if name in tree}
