"""Sets that torchvision reads from its own folders: CIFAR, SVHN, DTD, Flowers, Pets, Food, EuroSAT, PCAM and more."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError, MissingData, did_you_mean
from mmcontrast.evaluate.collection import Collection, Entry, Listed
from mmcontrast.evaluate.names import class_names, known
from mmcontrast.evaluate.readers import READERS

# torchvision's class -> how it takes the split.  Those whose files are pickles are checked against the publishers'
# checksums by torchvision before they are opened, CIFAR that is.
SPLITS: dict[str, dict[str, Any]] = {
    "CIFAR10": {"train": {"train": True}, "test": {"train": False}},
    "CIFAR100": {"train": {"train": True}, "test": {"train": False}},
    "MNIST": {"train": {"train": True}, "test": {"train": False}},
    "FashionMNIST": {"train": {"train": True}, "test": {"train": False}},
    "SVHN": {"train": {"split": "train"}, "test": {"split": "test"}},
    "STL10": {"train": {"split": "train"}, "test": {"split": "test"}},
    "DTD": {name: {"split": name} for name in ("train", "val", "test")},
    "Flowers102": {name: {"split": name} for name in ("train", "val", "test")},
    "Food101": {name: {"split": name} for name in ("train", "test")},
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    "FGVCAircraft": {name: {"split": name} for name in ("train", "val", "test")},
    "StanfordCars": {name: {"split": name} for name in ("train", "test")},
    "GTSRB": {name: {"split": name} for name in ("train", "test")},
    "PCAM": {name: {"split": name} for name in ("train", "val", "test")},
    "RenderedSST2": {name: {"split": name} for name in ("train", "val", "test")},
    "Country211": {"train": {"split": "train"}, "val": {"split": "valid"}, "test": {"split": "test"}},
    "EuroSAT": {"test": {}},
    "SUN397": {"test": {}},
    "Caltech101": {"test": {}},
}


@READERS.register("torchvision_set")
class TorchvisionSet:
    """Pictures of one of torchvision's classification sets; nothing is downloaded."""

    @config
    class Config:
        """Fields of the reader."""

        root: Path  # the folder given to torchvision
        name: str = "CIFAR10"  # torchvision's class
        split: str = "test"
        names: str | None = (
            None  # class names: a file or a shipped list; null: a shipped one of this name, else the set's
        )

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self) -> Collection:
        """List the rows; pictures are handed on as PNG, which loses nothing."""
        import torchvision

        name, split = self.config.name, self.config.split
        if name not in SPLITS:
            raise ConfigError(f"no such set '{name}'.{did_you_mean(name, SPLITS)} Known: {', '.join(SPLITS)}.")
        if split not in SPLITS[name]:
            raise ConfigError(f"{name} has no split '{split}'. It has: {', '.join(SPLITS[name])}.")
        try:
            rows = getattr(torchvision.datasets, name)(
                root=str(self.config.root), download=False, **SPLITS[name][split]
            )
        except (RuntimeError, OSError, ImportError) as error:
            raise MissingData(f"torchvision does not find {name} under '{self.config.root}': {error}") from error
        labels = _labels(rows)
        raw = [str(each) for each in getattr(rows, "classes", sorted(set(labels)))]
        shipped = name.lower() if name.lower() in known("classes") else None
        classes = class_names(self.config.names or shipped, raw)
        entries = [
            Entry(f"{split}/{number:06d}", {"label": classes[label], "class": label},
                  {"image": partial(_png, rows, number)}, {"image": "png"})
            for number, label in enumerate(labels)
        ]  # fmt: skip
        return Listed(f"{name} {split}", entries, classes=tuple(classes))


def _labels(rows: Any) -> list[int]:
    """Class numbers without opening a picture, where the set keeps them."""
    for field in ("targets", "labels", "_labels", "y"):
        found = getattr(rows, field, None)
        if found is not None and len(found) == len(rows):
            return [int(value) for value in found]
    for field in ("_samples", "samples"):
        found = getattr(rows, field, None)
        if found is not None and len(found) == len(rows):
            return [int(value) for _, value in found]
    return [int(rows[number][1]) for number in range(len(rows))]


def _png(rows: Any, number: int) -> bytes:
    stream = io.BytesIO()
    rows[number][0].convert("RGB").save(stream, "PNG")
    return stream.getvalue()
