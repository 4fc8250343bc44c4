"""MedMNIST's npz files: small medical pictures with one or more labels."""

from __future__ import annotations

import io
import zipfile
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.names import class_names
from mmcontrast.evaluate.readers import READERS
from mmcontrast.evaluate.readers.base import existing

MAX_ARRAY_BYTES = 8 << 30


@READERS.register("medmnist")
class MedMNIST:
    """``NAME.npz`` with ``SPLIT_images`` (N, H, W[, 3]) and ``SPLIT_labels`` (N, 1), or (N, C) of zeros and ones.

    Read without pickles; any npz of this form will do.

    Source: Yang et al. 2023, Scientific Data 10; licence CC BY.
    """

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # the .npz file
        split: Literal["train", "val", "test"] = "test"
        names: str | None = None  # class names: a json file or a shipped list; null: the numbers

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the rows of the split."""
        path, split = existing(self.config.root, what="an npz file"), self.config.split
        images, labels = (_array(path, f"{split}_{name}") for name in ("images", "labels"))
        if len(images) != len(labels) or images.ndim not in (3, 4) or images.dtype != np.uint8:
            raise ConfigError(f"'{path}': expected uint8 {split}_images (N, H, W[, 3]) and as many {split}_labels.")
        labels = labels.reshape(len(labels), -1).astype(np.int64)
        many = labels.shape[1] > 1
        count = labels.shape[1] if many else int(labels.max()) + 1
        classes = class_names(self.config.names, [str(number) for number in range(count)])
        entries = []
        for number, row in enumerate(labels):
            info: dict[str, Any] = (
                {"labels": [classes[place] for place in row.nonzero()[0]]} if many else {"label": classes[int(row[0])]}
            )
            picture = partial(_png, images, number)
            entries.append(Entry(f"{split}/{number:06d}", info, {"image": picture}, {"image": "png"}))
        return Listed(f"{path.stem} {split}", entries, classes=tuple(classes), licence="CC BY")


def _array(path: Path, name: str) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(f"{name}.npy").file_size
        if size > MAX_ARRAY_BYTES:
            raise ConfigError(f"'{path}': {name} of {size:,} bytes is over 8 GiB.")
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    except KeyError as error:
        raise ConfigError(f"'{path}' has no array '{name}': another split, or no MedMNIST file.") from error
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ConfigError(f"'{path}' does not read as npz without pickles: {error}") from error


def _png(images: np.ndarray, number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(images[number]).convert("RGB").save(stream, "PNG")
    return stream.getvalue()
