"""BEATs' checkpoints: one file of torch.save with a tower of sounds and its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcontrast.config import Positive, config
from mmcontrast.errors import CheckpointError
from mmcontrast.export.base import Read
from mmcontrast.export.key_map import KeyMap, Rule
from mmcontrast.export.part import Part
from mmcontrast.heads.identity import Identity
from mmcontrast.importers import IMPORTERS
from mmcontrast.importers.base import Draft, Importer, Tower, count_of, find_file, read_weights
from mmcontrast.importers.beats_peer import audio_reader
from mmcontrast.towers.beats import BEATs as BEATsTower
from mmcontrast.weight_files import read_settings

SETTINGS = "cfg"
NEEDED = {
    "relative_position_embedding": True,
    "gru_rel_pos": True,
    "deep_norm": True,
    "layer_norm_first": False,
    "conv_bias": False,
    "activation_fn": "gelu",
}
LENGTH, DIRECTION = (f"encoder.pos_conv.0.weight_{kind}" for kind in "gv")
TABLE = "encoder.layers.{layer}.self_attn.relative_attention_bias.weight"
MAP = KeyMap(
    (
        Rule(DIRECTION, "tower.places.weight"),
        Rule("encoder.pos_conv.0.bias", "tower.places.bias"),
        Rule("encoder.layer_norm.{kind}", "tower.norm.{kind}"),
        Rule(TABLE.format(layer=0), "tower.distances.weight"),
        Rule("encoder.layers.{layer}.self_attn.grep_a", "tower.layers.{layer}.gate_scale"),
        Rule("encoder.layers.{rest}", "tower.layers.{rest}"),
        Rule("{rest}", "tower.{rest}"),
    )
)


@IMPORTERS.register("beats")
class BEATs(Importer):
    """BEATs: a tower of sounds, whose mean token is the embedding."""

    modalities = ("audio",)

    @config
    class Config:
        """What the file does not say."""

        seconds: Positive = 10.0  # length of the window

    def read(self, path: Path, modalities: Sequence[str], scratch: Path) -> Draft:
        """Read the file; sizes are those of its weights, the greatest distance is that of its settings."""
        files = [find_file(path, "*.pt")]
        raw, settings = read_weights(files), read_settings(files[0], SETTINGS)
        if DIRECTION not in raw or "max_distance" not in settings:
            raise CheckpointError(f"'{path}' is no checkpoint of BEATs: it has no {DIRECTION}, or no settings.")
        for name, value in NEEDED.items():
            if settings.get(name, value) != value:
                raise CheckpointError(f"'{path}' has {name} = {settings[name]}; the tower here has {value} alone.")
        try:
            tower = self._tower(raw, settings)
        except KeyError as error:
            raise CheckpointError(f"'{path}' is truncated: it has no {error}.") from error
        except ValueError as error:
            raise CheckpointError(f"'{path}' has sizes that BEATs cannot have: {error}") from error
        copies = {TABLE.format(layer=number): "the first layer's table again" for number in range(1, tower.layers)}
        for name in copies:
            if name in raw and not torch.equal(raw[name], raw[TABLE.format(layer=0)]):
                raise CheckpointError(f"'{path}': '{name}' is not the first layer's table, which all layers share.")
        return Draft(
            towers={"audio": Tower(tower=tower, head=Identity.Config(), key_map=MAP)},
            dim=tower.width,
            state=raw | {DIRECTION: multiplied_out(raw)},
            files=files,
            left_out={
                LENGTH: "the lengths of filters, multiplied into them",
                "predictor.{kind}": "the classifier of AudioSet's events",
                **copies,
            },
            notes=["A shorter sound is followed by silence, which BEATs can also mask; import does not."],
        )

    def peer(self, path: Path, part: Part) -> tuple[str, Read]:
        """BEATs' own module."""
        file = find_file(path, "*.pt")
        spec = part.tower("audio").config.input_spec()
        return "BEATs", Read({"audio": audio_reader(read_weights([file]), read_settings(file, SETTINGS), spec)})

    def _tower(self, raw: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Any:
        patch_width, _, patch, _ = raw["patch_embedding.weight"].shape
        width, per_group, filters = raw[DIRECTION].shape
        buckets, heads = raw[TABLE.format(layer=0)].shape
        return BEATsTower.Config(
            seconds=self.config.seconds, patch=patch, patch_width=patch_width, width=width,
            layers=count_of(raw, "encoder.layers."), heads=heads, mlp_width=len(raw["encoder.layers.0.fc1.bias"]),
            position_filters=filters, position_groups=width // per_group, buckets=buckets,
            max_distance=int(settings["max_distance"]),
        )  # fmt: skip


def multiplied_out(raw: Mapping[str, Tensor]) -> Tensor:
    """The filters of the convolution of places, which the file keeps as a length for each token and a direction.

    Source: Salimans and Kingma 2016, arXiv:1602.07868, equation 2.
    """
    length, direction = raw[LENGTH].double(), raw[DIRECTION].double()
    return (length * direction / direction.norm(dim=(0, 1), keepdim=True)).to(raw[DIRECTION].dtype)
