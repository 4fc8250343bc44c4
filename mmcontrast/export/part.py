"""What is exported: some towers of a trained model, and all that is known of where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmcontrast import checkpoint
from mmcontrast.config import dump
from mmcontrast.errors import ExportError
from mmcontrast.evaluate.encoder import fitted
from mmcontrast.exported import is_exported, read_exported
from mmcontrast.exported.dtypes import Dtype, rounded
from mmcontrast.front_ends.fusion import blank_mels
from mmcontrast.merging import merged_model_state
from mmcontrast.model import Model, ModelConfig
from mmcontrast.run_folder import read_run_folder
from mmcontrast.specs import AudioSpec, ImageSpec, InputSpec, TextSpec
from mmcontrast.types import Values

MODALITIES = ("image", "audio", "text")


@dataclass(frozen=True)
class Part:
    """Some towers with their heads and geometry, in float32 on the CPU, in evaluation mode."""

    model: Model
    about: dict[str, Any] = field(default_factory=dict)  # source, config, seed: plain JSON, for the card
    home: Path | None = None  # run folder, where results of evaluations lie

    @property
    def config(self) -> ModelConfig:
        """Towers, heads, geometry."""
        return self.model.config

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those of the towers, sorted."""
        return tuple(sorted(self.config.towers))

    def tower(self, modality: str) -> Any:
        """One tower."""
        return self.model.towers[modality]

    def head(self, modality: str) -> Any:
        """One head."""
        return self.model.heads[modality]

    def spec(self, modality: str) -> InputSpec:
        """What a tower reads."""
        return self.config.specs()[modality]

    def image_spec(self) -> ImageSpec:
        """What the image tower reads."""
        spec = self.spec("image")
        assert isinstance(spec, ImageSpec)
        return spec

    def text_spec(self) -> TextSpec:
        """What the text tower reads."""
        spec = self.spec("text")
        assert isinstance(spec, TextSpec)
        return spec

    def state(self) -> dict[str, Tensor]:
        """Weights by the model's names."""
        return dict(self.model.state_dict())

    def stored_as(self, dtype: Dtype) -> Part:
        """The same part with weights that have been rounded to a storage type, in float32 again."""
        if dtype == "fp32":
            return self
        return Part(built(self.config, rounded(self.state(), dtype)), self.about, self.home)

    def module(self, modality: str) -> TowerToPoint:
        """One tower, its head and the geometry as one module."""
        return TowerToPoint(self, modality)


class TowerToPoint(nn.Module):
    """Inputs of one modality, as the loader brings them, to points of the shared space."""

    def __init__(self, part: Part, modality: str) -> None:
        super().__init__()
        self.tower, self.head, self.geometry = part.tower(modality), part.head(modality), part.model.geometry
        self.eval()

    def forward(self, values: Values) -> Tensor:
        """(B, ...) -> (B, D)."""
        return self.geometry.project(self.head(self.tower(values).pooled))


def built(config: ModelConfig, state: dict[str, Tensor]) -> Model:
    """A model with given weights, nothing trainable."""
    model = Model(config)
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def open_part(location: Path, modalities: Sequence[str] = ("all",), *, weights: checkpoint.Weights = "raw") -> Part:
    """Open some towers of a run (its newest valid checkpoint), of one checkpoint, or of an exported folder.

    Args:
        modalities: any of image, audio and text; ``("all",)``: every tower.
        weights: of a run: as trained, or their moving average.

    Raises:
        ExportError: the model has no such tower.
        CheckpointError, RunFolderError: nothing usable is there.
    """
    part = _of_export(location, weights) if is_exported(location) else _of_run(location, weights)
    if list(modalities) == ["all"]:
        return part
    for name in modalities:
        if name not in part.modalities:
            raise ExportError(f"'{location}' has no {name} tower; it has: {', '.join(part.modalities)}.")
    config = part.config.limited(modalities)
    kept = {
        name: value
        for name, value in part.state().items()
        if name.split(".")[0] not in ("towers", "heads") or name.split(".")[1] in modalities
    }
    return Part(built(config, kept), part.about, part.home)


def _of_export(folder: Path, weights: checkpoint.Weights) -> Part:
    if weights != "raw":
        raise ExportError(f"'{folder}' is an export, which has one set of weights; name the run for others.")
    found = read_exported(folder)
    kept: dict[str, Any] = {key: found.about[key] for key in ("source", "seed", "logit_scale") if key in found.about}
    return Part(built(found.config, found.state), kept, None)


def _of_run(location: Path, weights: checkpoint.Weights) -> Part:
    path = checkpoint.find(location)
    home = path.parent.parent
    run = read_run_folder(home)
    state, facts = merged_model_state(path, weights=weights), checkpoint.folder.load_state(path)
    # How it was trained is over: no file that its weights started from is needed, nothing is frozen or recomputed, and
    # adapters are part of the weights.
    model = fitted(Model(replace(run.model, training={})), state, where=path).eval().requires_grad_(False)
    source = {
        "run": home.resolve().name,
        "checkpoint": path.name if weights == "raw" else f"{path.name} (moving average)",
        "steps": facts["clock"]["step"],
        "rows": facts["clock"]["rows"],
        "versions": facts.get("versions", {}),
        "config": dump(run),
        "training_data": [source.manifest for source in run.data.sources.values()],
    }
    return Part(model, {"source": source, "seed": run.seed}, home)


def example(spec: InputSpec, *, rows: int, seed: int = 0) -> Values:
    """Random inputs as the loader brings them, to trace with."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(spec, ImageSpec):
        return torch.randint(0, 256, (rows, 3, spec.size, spec.size), generator=generator, dtype=torch.uint8)
    if isinstance(spec, AudioSpec):
        if spec.fusion is not None:
            return blank_mels(spec.fusion, rows=rows, samples=spec.samples)
        return 0.1 * torch.randn(rows, spec.samples, generator=generator)
    return torch.randint(1, 40, (rows, min(8, spec.context_length)), generator=generator)
