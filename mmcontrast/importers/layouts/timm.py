"""timm's image models: a folder of timm's, or a file of weights and a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from mmcontrast.config import Count, config
from mmcontrast.errors import CheckpointError, did_you_mean
from mmcontrast.export.base import Read
from mmcontrast.export.formats.timm import image_reader
from mmcontrast.export.key_map import KeyMap, Rule
from mmcontrast.export.part import Part
from mmcontrast.heads.identity import Identity
from mmcontrast.heads.linear import Linear
from mmcontrast.importers import IMPORTERS
from mmcontrast.importers.base import Draft, Importer, Tower, find_weights, read_json, read_weights
from mmcontrast.towers.timm_image import TimmImage, create_timm

WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Described:
    """What is known of a model besides its weights."""

    name: str
    arguments: dict[str, Any] = field(
        default_factory=dict
    )  # of timm's constructor; where the tower has others, parity fails
    preprocessing: dict[str, Any] = field(default_factory=dict)  # mean, std, input_size, where a folder has them


@IMPORTERS.register("timm")
class Timm(Importer):
    """An image model of timm's: its pooled features are the embedding, or its classifier's scores."""

    modalities = ("image",)

    @config
    class Config:
        """Fields of the importer."""

        name: str | None = None  # timm's name of the model; null: as the folder's config.json says
        size: Count | None = None  # pixels of a picture's side; null: the folder's, or the model's own
        classifier: bool = False  # keep the classifier as the head: its scores are the embedding

    def read(self, path: Path, modalities: Sequence[str], scratch: Path) -> Draft:
        """Read the weights, and what the folder says of its model."""
        files, known = find_weights(path, WEIGHTS), self._described(path)
        state = read_weights(files)
        names = _classifiers(known.name)
        has_statistics = any(name.endswith("running_mean") for name in state)
        tower = TimmImage.Config(
            name=known.name,
            size=self._size(known),
            batch_norm="frozen" if has_statistics else "group",
            mean=_channels(known, "mean"),
            std=_channels(known, "std"),
        )
        rest = Rule("{rest}", "tower.inner.{rest}")
        if not self.config.classifier:
            with torch.device("meta"):  # some models pool to another width than they say
                width = int(
                    create_timm(known.name, size=tower.size).eval()(torch.zeros(1, 3, *[tower.size] * 2)).shape[1]
                )
            read = Tower(tower=tower, head=Identity.Config(), key_map=KeyMap((rest,)))
            left_out = {f"{name}.{{rest}}": "the classifier, behind the features" for name in names}
            return Draft(towers={"image": read}, dim=width, state=state, files=files, left_out=left_out)
        if len(names) != 1 or f"{names[0]}.weight" not in state:
            raise CheckpointError(f"'{path}' has no single classifier, which classifier=true would keep as the head.")
        head = Linear.Config(bias=f"{names[0]}.bias" in state)
        read = Tower(tower=tower, head=head, key_map=KeyMap((Rule(f"{names[0]}.{{kind}}", "head.layer.{kind}"), rest)))
        return Draft(towers={"image": read}, dim=len(state[f"{names[0]}.weight"]), state=state, files=files)

    def peer(self, path: Path, part: Part) -> tuple[str, Read]:
        """The model that timm builds, with its weights and no crop before it."""
        import timm

        known, state = self._described(path), read_weights(find_weights(path, WEIGHTS))
        names = _classifiers(known.name)
        classes = part.config.dim if self.config.classifier else 0
        model: Any = timm.create_model(known.name, num_classes=classes, **known.arguments).eval()
        kept = {
            name: value
            for name, value in state.items()
            if classes or not any(name.startswith(f"{each}.") for each in names)
        }
        model.load_state_dict(kept)
        size = part.image_spec().size
        read = image_reader(model, {**known.preprocessing, "input_size": (3, size, size), "crop_pct": 1.0})
        # timm resizes the shorter side first, with its model's own filter.
        return f"timm {timm.__version__}", Read({"image": read}, exact_for="own_size")

    def _described(self, path: Path) -> Described:
        import timm

        name, tree = self.config.name, {}
        if path.is_dir() and (path / "config.json").is_file():
            tree = read_json(path / "config.json")
            name = name or str(tree.get("architecture", ""))
        if not name:
            raise CheckpointError(f"nothing says which of timm's models '{path}' holds. Add --set name=NAME.")
        name = name.partition(".")[0]  # what follows a dot names weights
        if name not in timm.list_models():
            raise CheckpointError(f"timm has no model '{name}'.{did_you_mean(name, timm.list_models())}")
        arguments = {key: value for key, value in (tree.get("model_args") or {}).items() if key != "num_classes"}
        if self.config.size is not None and "img_size" in arguments:
            arguments["img_size"] = self.config.size
        return Described(name, arguments, dict(tree.get("pretrained_cfg") or {}))

    def _size(self, known: Described) -> int:
        if self.config.size is not None:
            return int(self.config.size)
        sizes = (known.arguments.get("img_size"), (known.preprocessing.get("input_size") or (0, 0))[1])
        own: Any = _built(known.name).default_cfg
        return int(next((size for size in sizes if size), own["input_size"][1]))


@cache
def _built(name: str) -> Any:
    with torch.device("meta"):  # shapes without weights
        return create_timm(name)


def _classifiers(name: str) -> tuple[str, ...]:
    found: Any = _built(name).default_cfg.get("classifier") or ()
    return (found,) if isinstance(found, str) else tuple(found)


def _channels(known: Described, key: str) -> Any:
    """Mean or deviation, where it is not what the model has anyway."""
    found: Any = known.preprocessing.get(key)
    own: Any = _built(known.name).default_cfg[key]
    return None if found is None or tuple(found) == tuple(own) else tuple(found)
