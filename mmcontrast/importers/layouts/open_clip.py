"""open_clip's models: a folder with open_clip_config.json, or a file of weights and a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import CheckpointError, ConfigError
from mmcontrast.export.base import Read
from mmcontrast.export.formats.open_clip import readers
from mmcontrast.export.key_map import KeyMap, Rule
from mmcontrast.export.part import Part
from mmcontrast.heads.identity import Identity
from mmcontrast.importers import IMPORTERS
from mmcontrast.importers.base import NOT_ASKED, SCALE, Draft, Importer, Tower, find_weights, read_weights, scalar
from mmcontrast.importers.open_clip_settings import image_tower, text_tower
from mmcontrast.towers.open_clip_image import SETTINGS, open_clip_config, open_clip_folder

WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "*.safetensors",
)
IMAGE = KeyMap((Rule("visual.{rest}", "tower.inner.{rest}"),))
APART = KeyMap((Rule("text.{rest}", "tower.inner.{rest}"),))  # models whose text tower is a module of its own
AMONG = KeyMap(
    tuple(
        Rule(name, f"tower.inner.{name}")
        for name in (
            "token_embedding.weight",
            "positional_embedding",
            "transformer.{rest}",
            "ln_final.{rest}",
            "text_projection",
            "text_projection.{rest}",
        )
    )
)


@IMPORTERS.register("open_clip")
class OpenCLIP(Importer):
    """An image and a text tower of open_clip's, with their projections."""

    packages = ("open_clip",)

    @config
    class Config:
        """Fields of the importer."""

        name: str | None = None  # open_clip's name of the model; null: as the folder's open_clip_config.json says

    def read(self, path: Path, modalities: Sequence[str], scratch: Path) -> Draft:
        """Read the weights, and the architecture by the folder or by name."""
        settings = self._settings(path)
        files = find_weights(path, WEIGHTS)
        state = read_weights(files)
        model = settings["model_cfg"]
        apart = any(name.startswith("text.") for name in state)
        maps = {"image": IMAGE, "text": APART if apart else AMONG}
        towers = {}
        if "image" in modalities:
            frozen = any(name.startswith("visual.") and name.endswith("running_mean") for name in state)
            tower = image_tower(model, settings["preprocess_cfg"], scratch, frozen=frozen)
            towers["image"] = Tower(tower=tower, head=Identity.Config(), key_map=IMAGE)
        if "text" in modalities:
            tower = text_tower(model, scratch, where=path)
            towers["text"] = Tower(tower=tower, head=Identity.Config(), key_map=maps["text"])
        left_out = {"logit_scale": SCALE, "logit_bias": SCALE, "attn_mask": "follows from sizes"}
        others = [rule.parts[0] for each in maps.keys() - towers.keys() for rule in maps[each].rules]
        return Draft(
            towers=towers,
            dim=int(model["embed_dim"]),
            state=state,
            files=files,
            left_out=left_out | dict.fromkeys(others, NOT_ASKED),
            logit_scale=scalar(state, "logit_scale"),
            logit_bias=scalar(state, "logit_bias"),
        )

    def peer(self, path: Path, part: Part) -> tuple[str, Read]:
        """``open_clip.create_model_and_transforms`` with the same file."""
        import open_clip

        if self.config.name is None:
            place = f"local-dir:{path}"
            model, _, transform = open_clip.create_model_and_transforms(place)
        else:
            (file,) = find_weights(path, WEIGHTS)
            place = self.config.name
            model, _, transform = open_clip.create_model_and_transforms(place, pretrained=str(file), weights_only=True)
        read = readers(model, transform, open_clip.get_tokenizer(place) if "text" in part.modalities else None)
        plain = {"resize_mode": "shortest", "interpolation": "bicubic"}
        prepared: Any = self._settings(path)["preprocess_cfg"]
        own = any(prepared.get(key, value) != value for key, value in plain.items())
        return f"open_clip {open_clip.__version__}", replace(read, exact_for="own_size") if own else read

    def _settings(self, path: Path) -> dict[str, Any]:
        if path.is_dir() and (path / SETTINGS).is_file() and self.config.name is None:
            return open_clip_folder(path)
        if self.config.name is None:
            raise CheckpointError(
                f"nothing says which of open_clip's models '{path}' holds. Add --set name=NAME, such as ViT-B-32."
            )
        try:
            return {"model_cfg": open_clip_config(self.config.name), "preprocess_cfg": {}}
        except ConfigError as error:
            raise CheckpointError(str(error)) from error
