"""What can be evaluated: a run of ours, an export of it, open_clip models with weights, Hugging Face folders."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmcontrast import checkpoint
from mmcontrast.errors import CheckpointError, ConfigError
from mmcontrast.evaluate.base import Encoder
from mmcontrast.exported import is_exported, read_exported
from mmcontrast.exported.folder import WEIGHTS
from mmcontrast.specs import Long


@dataclass(frozen=True)
class Opened:
    """A model ready to be evaluated."""

    name: str
    home: Path  # folder beside which results go
    encoder: Encoder
    untrained: Encoder | None
    about: dict[str, Any]  # weights' digest, config, training

    def hearing(self, long: Long) -> Opened:
        """The same model with another rule for sounds that are longer than its window.

        Raises:
            ConfigError: it is no model of ours, or its windows are fixed.
            NeedsError: it has no audio tower.
        """
        from mmcontrast.evaluate.encoder import TowerEncoder

        if not isinstance(self.encoder, TowerEncoder):
            raise ConfigError(f"--long: {self.name} is no model of ours; what it hears of long sounds is its own.")
        untrained = self.untrained.hearing(long) if isinstance(self.untrained, TowerEncoder) else None
        about = {**self.about, "long_sounds": long}
        return replace(self, encoder=self.encoder.hearing(long), untrained=untrained, about=about)


def open_checkpoint(location: str, *, device: str = "cpu", weights: checkpoint.Weights = "raw") -> Opened:
    """Open ``RUN``, ``RUN/checkpoints/STEP``, an exported folder, a consolidated file, or a model of others.

    Models of others are ``open_clip:NAME:WEIGHTS`` and ``hf:FOLDER``.

    Args:
        weights: of a run of ours: as trained, or their moving average.

    Raises:
        CheckpointError, RunFolderError: nothing usable is there.
    """
    from mmcontrast.evaluate.foreign import open_clip_encoder, transformers_encoder

    kind, colon, rest = location.partition(":")
    if colon and kind in ("open_clip", "hf") and weights != "raw":
        raise CheckpointError(f"'{location}' has one set of weights; a moving average is something of our own runs.")
    if colon and kind == "open_clip":
        return open_clip_encoder(rest, device=device)
    if colon and kind == "hf":
        return transformers_encoder(Path(rest), device=device)
    if is_exported(Path(location)):
        return open_exported(Path(location), device=device, weights=weights)
    if Path(location).suffix == ".safetensors":
        if weights != "raw":
            raise CheckpointError(
                f"'{location}' has one set of weights; consolidate the run's with --weights {weights}."
            )
        return open_consolidated(Path(location), device=device)
    return open_run(Path(location), device=device, weights=weights)


def open_consolidated(file: Path, *, device: str = "cpu") -> Opened:
    """Open a file of ``mmcontrast checkpoint consolidate``, which names its run's config.

    Raises:
        CheckpointError: no such file, or one that something else has written.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    from mmcontrast.config import dump, parse
    from mmcontrast.data.manifest import file_sha256
    from mmcontrast.evaluate.encoder import TowerEncoder, fitted, untrained_encoder
    from mmcontrast.model import Model
    from mmcontrast.run import Run

    if not file.is_file():
        raise CheckpointError(f"no file '{file}'.")
    try:
        with safe_open(file, framework="pt") as opened:
            about = opened.metadata() or {}
        run = parse(Run, json.loads(about.get("config", "null")), where=f"the config in '{file}'")
    except (SafetensorError, OSError, ValueError, ConfigError) as error:
        raise CheckpointError(
            f"'{file}' was not written by 'mmcontrast checkpoint consolidate', or by another version: {error} "
            "Weights of open_clip are named open_clip:NAME:FILE."
        ) from error
    average = " (moving average)" if about.get("weights") == "ema" else ""
    return Opened(
        name=str(file),
        home=file.parent,
        encoder=TowerEncoder(fitted(Model(run.model), load_file(file), where=file), device=device),
        untrained=untrained_encoder(run.model, seed=run.seed + 1),
        about={
            "run": run.out.name,
            "checkpoint": f"{about['from']}{average}, consolidated",
            "weights_sha256": file_sha256(file),
            "config": dump(run),
            "training": [],
        },
    )


def open_exported(folder: Path, *, device: str = "cpu", weights: checkpoint.Weights = "raw") -> Opened:
    """Open an exported folder, with the same untrained twin that its run has."""
    from mmcontrast.config import dump
    from mmcontrast.data.manifest import file_sha256
    from mmcontrast.evaluate.encoder import load_encoder, untrained_encoder

    encoder, found = load_encoder(folder, device=device, weights=weights), read_exported(folder)
    source = found.about["source"]
    return Opened(
        name=str(folder),
        home=folder,
        encoder=encoder,
        untrained=untrained_encoder(found.config, seed=found.about["seed"] + 1),
        about={
            "run": f"{source['run']} (exported, {found.dtype})",
            "checkpoint": source["checkpoint"],
            "weights_sha256": file_sha256(folder / WEIGHTS),
            "config": source.get("config") or dump(found.config),
            "training": [],
        },
    )


def open_run(location: Path, *, device: str = "cpu", weights: checkpoint.Weights = "raw") -> Opened:
    """Open a run folder or one of its checkpoints, with its untrained twin."""
    from mmcontrast.evaluate.command import about_run
    from mmcontrast.evaluate.encoder import load_encoder, untrained_encoder, writers
    from mmcontrast.run_folder import read_run_folder

    path = checkpoint.find(location)
    home = path.parent.parent
    run = read_run_folder(home)
    return Opened(
        name=str(path) if weights == "raw" else f"{path} (moving average of its weights)",
        home=home,
        encoder=load_encoder(path, device=device, weights=weights),
        untrained=untrained_encoder(run.model, seed=run.seed + 1, objectives=writers(run)),
        about=about_run(path, home, run, weights=weights),
    )
