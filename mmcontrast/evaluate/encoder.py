"""A trained model seen from outside: pictures, sounds and strings in, points of the shared space out."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast import checkpoint
from mmcontrast.config import parse, to_tree
from mmcontrast.data.collate import pad_ids, stacked_sounds
from mmcontrast.data.loader import encoders
from mmcontrast.data.transforms.clip import heard
from mmcontrast.data.transforms.image import eval_image
from mmcontrast.data.transforms.sequence import eval_patches, padded
from mmcontrast.errors import CheckpointError, ConfigError, NeedsError
from mmcontrast.evaluate.identity import identity_of
from mmcontrast.evaluate.provenance import preprocessing_of
from mmcontrast.exported import is_exported, read_exported
from mmcontrast.geometry.base import Geometry
from mmcontrast.model import Model, ModelConfig
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.run import Run
from mmcontrast.run_folder import read_run_folder
from mmcontrast.specs import AudioSpec, ImageSpec, Long
from mmcontrast.types import Values, map_values

BATCH_ROWS = 128
CAPTIONING = "captioning"  # the objective with a decoder, under its first name


class TowerEncoder:
    """Encodes decoded items with a model's towers, deterministically, in batches."""

    def __init__(self, model: Model, *, device: str = "cpu", batch_rows: int = BATCH_ROWS) -> None:
        self.model = model.eval().to(device)
        self.device = torch.device(device)
        self.geometry: Geometry = model.geometry
        self.specs = model.config.specs()
        self.modalities = tuple(sorted(self.specs))
        self._batch_rows = batch_rows
        self._tokenize = encoders(self.specs)
        self.sounds: Counter[str] = Counter()  # those encoded so far: all, shorter and longer than the window

    @cached_property
    def identity(self) -> str:
        """Digest of all that :meth:`encode` depends on besides its items; the weights are taken at the first call."""
        return identity_of(self.model, device=self.device, batch_rows=self._batch_rows)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What each tower reads, as plain values for results."""
        return preprocessing_of(self.specs)

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which :meth:`encode` expects waveforms.

        Raises:
            NeedsError: the model has no audio tower.
        """
        return self.spec("audio").sample_rate_hz

    @property
    def read_seconds(self) -> float | None:
        """How much of a sound :meth:`encode` needs, from its start on; None: all of it.

        Raises:
            NeedsError: the model has no audio tower.
        """
        return self.spec("audio").read_seconds

    @property
    def window_seconds(self) -> float | None:
        """Longest sound of which :meth:`encode` hears the order; None: any.  A mean over windows has none.

        Raises:
            NeedsError: the model has no audio tower.
        """
        spec = self.spec("audio")
        return None if spec.fusion is not None else float(spec.seconds)

    @torch.inference_mode()
    def encode(self, modality: str, items: Sequence[Any], *, progress: str | None = None) -> Float[Tensor, "N D"]:
        """Embed items of one modality.

        Args:
            items: PIL pictures, mono float32 waveforms at ``sample_rate_hz`` of any length, or strings.
            progress: label of a progress bar; none if null.

        Returns:
            float32 on the CPU, shape (N, D), on the model's geometry.
        """
        spec = self.spec(modality)
        if isinstance(spec, AudioSpec):
            return self._encode_sounds(spec, items, progress=progress)
        starts: Any = _shown(range(0, len(items), self._batch_rows), progress)
        parts = [
            self.model.encode(modality, self.stack(modality, items[start : start + self._batch_rows])).float().cpu()
            for start in starts
        ]
        return torch.cat(parts) if parts else torch.zeros(0, self.model.config.dim)

    def spec(self, modality: str) -> Any:
        """What a tower reads.

        Raises:
            NeedsError: the model has no such tower.
        """
        if modality not in self.specs:
            raise NeedsError(f"this model has no {modality} tower; it has: {', '.join(self.modalities)}.")
        return self.specs[modality]

    def hearing(self, long: Long) -> TowerEncoder:
        """The same towers with another rule for sounds that are longer than the window.

        Raises:
            NeedsError: the model has no audio tower.
            ConfigError: the tower has no choice, or there is no such rule.
        """
        if self.spec("audio").fusion is not None:
            raise ConfigError("this audio tower hears all of a long sound, as four spectrograms: there is no choice.")
        config = self.model.config
        tower = to_tree(config.towers["audio"])
        if "length" not in tower:
            raise ConfigError(f"'{config.towers['audio'].registry_name}' has no field length: its windows are fixed.")
        tower["length"]["long"] = long
        towers = {**to_tree(config.towers), "audio": tower}
        changed = copy.copy(self.model)  # shares every weight
        changed.config = parse(ModelConfig, {**to_tree(config), "towers": towers}, where="long")
        return TowerEncoder(changed, device=str(self.device), batch_rows=self._batch_rows)

    def _encode_sounds(self, spec: AudioSpec, items: Sequence[Any], *, progress: str | None) -> Float[Tensor, "N D"]:
        """A sound's windows go through the tower in full batches, with other sounds' windows; then their mean."""
        self._note_lengths(spec, items)
        cells = ((row, cell) for row in _shown(range(len(items)), progress) for cell in heard(items[row], spec))
        points: list[list[Tensor]] = [[] for _ in items]
        while batch := list(islice(cells, self._batch_rows)):
            values = stacked_sounds(spec, [cell for _, cell in batch])
            z = self.model.encode("audio", map_values(values, lambda tensor: tensor.to(self.device))).float()
            for (row, _), point in zip(batch, z, strict=True):
                points[row].append(point)
        means = [each[0] if len(each) == 1 else self.geometry.mean(torch.stack(each)) for each in points]
        return torch.stack(means).cpu() if means else torch.zeros(0, self.model.config.dim)

    def _note_lengths(self, spec: AudioSpec, items: Sequence[Any]) -> None:
        """Count sounds by length; say once what becomes of those that are longer than the window."""
        longer = sum(len(item) > spec.samples for item in items)
        if longer and not self.sounds["longer"]:
            words = f"{spec.length.in_words()['longer']} (model.towers.audio.length.long)"
            if spec.fusion is not None:
                words = "all of it, as four spectrograms"
            warnings.warn(
                f"sounds are longer than the audio tower's window of {spec.seconds:g} s: heard is {words}.",
                stacklevel=3,
            )
        shorter = sum(len(item) < spec.samples for item in items)
        self.sounds.update({"all": len(items), "longer": longer, "shorter": shorter})

    def stack(self, modality: str, items: Sequence[Any]) -> Values:
        """Pictures or texts as a tower reads them, on the device."""
        spec = self.spec(modality)
        if isinstance(spec, ImageSpec) and spec.sequence is not None:
            values = padded([eval_patches(item, spec.sequence) for item in items], spec.sequence)
            return {name: tensor.to(self.device) for name, tensor in values.items()}
        if isinstance(spec, ImageSpec):
            arrays = [eval_image(item, size=spec.size) for item in items]
        else:
            encode: Callable[[str], list[int]] = self._tokenize[modality]
            return torch.stack(pad_ids([encode(item) for item in items])).to(self.device)
        return torch.from_numpy(np.stack(arrays)).to(self.device)


def _shown(numbers: range, label: str | None) -> Iterable[int]:
    """Numbers, with a progress bar if it has a label."""
    if label is None:
        return numbers
    from rich.progress import track

    return track(numbers, description=label, transient=True)


def load_encoder(location: Path, *, device: str = "cpu", weights: checkpoint.Weights = "raw") -> TowerEncoder:
    """Load the encoder of a run folder (its newest valid checkpoint), of one checkpoint in it, or of an export.

    Args:
        weights: as trained, or their moving average (the run's field ``ema``).

    Raises:
        RunFolderError, CheckpointError: nothing usable is there.
    """
    location = Path(location)
    if is_exported(location):
        if weights != "raw":
            raise CheckpointError(f"'{location}' is an export, which has one set of weights; name the run for others.")
        found = read_exported(location)
        return TowerEncoder(fitted(Model(found.config), found.state, where=location), device=device)
    path = checkpoint.find(location)
    run = read_run_folder(path.parent.parent)
    state = checkpoint.load_model_state(path, weights=weights)
    return TowerEncoder(fitted(Model(run.model, writers(run)), state, where=path), device=device)


def writers(run: Run) -> dict[str, Any]:
    """The run's objectives whose decoders write captions; of all objectives they alone serve after training."""
    return {name: OBJECTIVES.build(each) for name, each in run.objectives.items() if each.registry_name == CAPTIONING}


def fitted(model: Model, state: dict[str, Tensor], *, where: Path) -> Model:
    """Load the weights that encoding needs.

    Raises:
        CheckpointError: they do not fit; names ``where`` they come from.
    """
    kept = tuple(f"objectives.{name}." for name in model.objectives)
    try:
        model.load_state_dict(
            {
                name: value
                for name, value in state.items()
                if not name.startswith(("objectives.", "combiner.", "momentum.")) or name.startswith(kept)
            }
        )
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights of '{where}' do not fit the towers that its config describes: another version of mmcontrast "
            f"made them.\n{error}"
        ) from error
    return model.requires_grad_(False)


def untrained_encoder(config: ModelConfig, *, seed: int = 0, objectives: dict[str, Any] | None = None) -> TowerEncoder:
    """The same towers, and decoders of objectives, with random weights: the control that knows nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TowerEncoder(Model(config, objectives).requires_grad_(False))
