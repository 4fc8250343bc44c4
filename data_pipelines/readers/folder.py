"""A folder of pictures and sounds, with captions beside them, in their names, or in their folders' names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from data_pipelines.readers import READERS
from data_pipelines.readers.base import Item, Reader, ReaderConfig, existing, files_under, medium_of
from mmcontrast.config import config
from mmcontrast.errors import ShardError


@READERS.register("folder")
class FolderReader(Reader):
    """Media files of a folder tree; files of one stem (cat.jpg, cat.wav, cat.txt) are one sample."""

    @config
    class Config(ReaderConfig):
        """Where, and what the captions are."""

        folder: str  # searched with its subfolders
        captions: Literal["beside", "name", "folder", "none"] = "beside"  # beside: STEM.txt, one caption a line

    def items(self) -> Iterator[Item]:
        """Samples by path."""
        root = existing(self.config.folder, what="reader.folder", folder=True)
        stems: dict[str, dict[str, Path]] = defaultdict(dict)
        repeated: list[Item] = []
        for path in files_under(root):
            modality = medium_of(path.suffix)
            if modality is not None:
                stem = path.relative_to(root).with_suffix("").as_posix()
                if modality in stems[stem]:
                    detail = f"'{path}' beside '{stems[stem][modality].name}'"
                    repeated.append(
                        Item(id=f"{stem}-{path.suffix}", refused=(f"second {modality} of one name", detail))
                    )
                    continue
                stems[stem][modality] = path
        if not stems:
            raise ShardError(f"no picture and no sound under '{root}'.")
        for stem, media in stems.items():
            info: dict[str, Any] = {"path": stem}
            first = next(iter(media.values()))
            if self.config.captions == "name":
                info["captions"] = [first.stem.replace("_", " ").replace("-", " ")]
            elif self.config.captions == "folder":
                info |= {"captions": [first.parent.name.replace("_", " ")], "label": first.parent.name}
            elif self.config.captions == "beside":
                text = first.with_suffix(".txt")
                info["captions_file"] = str(text)
            yield Item(id=stem, media={name: str(path) for name, path in media.items()}, info=info)
        yield from repeated
