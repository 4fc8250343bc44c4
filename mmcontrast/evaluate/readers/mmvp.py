"""MMVP-VLM: pairs of pictures that CLIP takes for the same, of nine visual patterns."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing, inside, read_text
from mmcontrast.evaluate.readers.choices import Asking, media_folder

PROMPT = "a photo of "  # before every statement, as in the published code
IMAGES = ("MLLM_VLM Images", "MMVP_VLM_Images", "images")


@READERS.register("mmvp")
class MMVP:
    """``Questions.csv`` (number, pattern, statement; two rows are a pair) and ``MLLM_VLM Images/PATTERN/NUMBER.jpg``.

    Categories are the patterns as the file names them.  The published number is ``image macro``: each statement
    prefers its own picture.

    Source: Tong et al. 2024, arXiv:2401.06209; no licence is given.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # folder of Questions.csv
        images: str | None = None  # folder of the patterns' folders; null: MLLM_VLM Images, or MMVP_VLM_Images

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the pairs."""
        root = self.config.root
        path = existing(root / "Questions.csv", what="MMVP's statements")
        images = media_folder(root, *((self.config.images,) if self.config.images else IMAGES))
        rows = list(csv.reader(io.StringIO(read_text(path))))[1:]
        if len(rows) % 2 or any(len(row) != 3 for row in rows):
            raise ConfigError(f"'{path}': expected a head and pairs of rows of number, pattern, statement.")
        asking = Asking("MMVP-VLM", modality="image")
        for first, second in zip(rows[0::2], rows[1::2], strict=True):
            pattern = first[1].strip()
            names = [f"{pattern}/{row[0].strip()}.jpg" for row in (first, second)]
            asking.ask(
                f"{first[0]}-{second[0]}",
                category=pattern,
                contexts=[asking.file(name, inside(images, name)) for name in names],
                texts=[PROMPT + row[2].strip() for row in (first, second)],
            )
        return asking.listed()
