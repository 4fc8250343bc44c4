"""Write an imported checkpoint whole or not at all: keys, weights, the peer's own forward beside ours, hashes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcontrast.config import parse
from mmcontrast.data.manifest import file_sha256
from mmcontrast.errors import CheckpointError, MissingPackage
from mmcontrast.export.parity import Parity, compare
from mmcontrast.export.part import Part
from mmcontrast.export.preprocessing import described
from mmcontrast.exported import seal, write_exported
from mmcontrast.importers import IMPORTERS
from mmcontrast.importers.base import Draft, Importer, importer_name
from mmcontrast.importers.card import write_card
from mmcontrast.importers.fitting import Keys, fitted_part


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What was written, and all that is known of how faithful it is."""

    folder: Path
    layout: str
    files: dict[str, str]  # name -> sha256
    keys: Keys
    peer: str  # package and version whose forward was compared, or why none was
    parity: list[Parity]  # empty where none was
    logit_scale: float | None
    logit_bias: float | None
    notes: Sequence[str]

    def lines(self) -> list[str]:
        """The report, for people."""
        lines = [f"file       {name}, sha256 {digest[:12]}" for name, digest in self.files.items()]
        lines += self.keys.lines()
        if self.logit_scale is not None:
            bias = "" if self.logit_bias is None else f", logit_bias {self.logit_bias:.4f}"
            lines.append(f"logits     logit_scale {self.logit_scale:.4f} (a logarithm){bias}")
        lines += [f"note       {note}" for note in self.notes]
        lines.append(f"parity     {self.peer}")
        return [*lines, *(f"  {each.line()}" for each in self.parity)]


def new_importer(layout: str, fields: Mapping[str, Any] | None = None) -> Importer:
    """An importer by name, with values for its fields.

    Raises:
        ConfigError: no such layout or field; lists those that there are.
    """
    cls = IMPORTERS.get(layout.replace("-", "_"))
    made: Importer = cls(parse(cls.Config, dict(fields or {}), where=f"--from {layout}"))
    return made


def import_checkpoint(
    path: Path,
    folder: Path,
    *,
    layout: str,
    towers: Sequence[str] = ("all",),
    fields: Mapping[str, Any] | None = None,
) -> Imported:
    """Write a checkpoint of others as a folder of ours, after the peer's own forward has been run beside it.

    Args:
        path: their file or folder.
        folder: is created; must not exist.
        layout: name of an importer; dashes and underscores are the same.
        towers: modalities; ``("all",)``: every one that the layout has.
        fields: of the importer.

    Raises:
        ConfigError: no such layout or field.
        CheckpointError: the file is damaged or something else, the folder exists, or the peer computes something else.
        MissingPackage: what reading needs is not installed.
    """
    importer = new_importer(layout, fields)
    importer.check_packages()
    if folder.exists():
        raise CheckpointError(f"'{folder}' exists already. Remove it, or name another folder.")
    if not path.exists():
        raise CheckpointError(f"'{path}' does not exist.")
    wanted = _wanted(importer, towers)
    with tempfile.TemporaryDirectory() as scratch:
        draft = importer.read(path, wanted, Path(scratch))
        part, keys = fitted_part(draft, where=str(path))
        peer, parity = beside_the_peer(importer, path, part)
        done = Imported(
            folder=folder,
            layout=importer_name(importer),
            files={file.name: file_sha256(file) for file in draft.files},
            keys=keys,
            peer=peer,
            parity=parity,
            logit_scale=draft.logit_scale,
            logit_bias=draft.logit_bias,
            notes=draft.notes,
        )
        _write(done, part, draft, path)
    return done


def _wanted(importer: Importer, towers: Sequence[str]) -> tuple[str, ...]:
    if list(towers) == ["all"]:
        return importer.modalities
    for name in towers:
        if name not in importer.modalities:
            raise CheckpointError(
                f"{importer_name(importer)} has no {name} tower; it has: {', '.join(importer.modalities)}."
            )
    return tuple(name for name in importer.modalities if name in towers)


def beside_the_peer(importer: Importer, path: Path, part: Part) -> tuple[str, list[Parity]]:
    """The same pictures, sounds and captions through the peer's own code and through ours.

    Returns:
        The peer's name and version, or why it was not compared; the differences.

    Raises:
        CheckpointError: one is above the importer's tolerance; holds every line.
    """
    try:
        peer, read = importer.peer(path, part)
    except MissingPackage as error:
        return f"not compared: {error}", []
    found = compare(part, read, limit=importer.tolerance)
    # NaN is no number that is below a limit.
    if any(each.limit is not None and not each.largest <= each.limit for each in found):
        lines = "\n".join(f"  {each.line()}" for each in found)
        raise CheckpointError(f"'{path}': {peer} computes something else; nothing was written:\n{lines}")
    return f"with {peer}", found


def _write(done: Imported, part: Part, draft: Draft, path: Path) -> None:
    """The folder of an export, whose source is the file of others."""
    digest = next(iter(done.files.values()))
    source = {
        "run": path.resolve().name,
        "checkpoint": f"{done.layout} {digest[:12]}",
        "steps": 0,
        "rows": 0,
        "versions": {},
        "training_data": [],
        "imported": {"layout": done.layout, "files": done.files, "peer": done.peer},
    }
    about: dict[str, Any] = {
        "source": source,
        "seed": 0,
        "dim": part.config.dim,
        "preprocessing": {modality: described(part, modality) for modality in part.modalities},
    }
    scales = {"logit_scale": draft.logit_scale, "logit_bias": draft.logit_bias}
    about |= {name: value for name, value in scales.items() if value is not None}
    temporary = done.folder.parent / f".writing-{done.folder.name}-{os.getpid()}"
    try:
        done.folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        write_exported(temporary, part.config, part.state(), dtype="fp32", about=about)
        write_card(temporary, done, part)
        seal(temporary)
        temporary.rename(done.folder)
    except OSError as error:
        raise CheckpointError(f"cannot write '{done.folder}': {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
