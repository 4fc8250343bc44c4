"""Write an export whole or not at all: files, card, parity check through the target, hashes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmcontrast.checkpoint import Weights
from mmcontrast.errors import ExportError
from mmcontrast.export import EXPORTS
from mmcontrast.export.base import ExportFormat, command_name, format_name
from mmcontrast.export.card import write_card
from mmcontrast.export.parity import Parity, check, compare
from mmcontrast.export.part import Part, open_part
from mmcontrast.exported import seal
from mmcontrast.exported.dtypes import DTYPES, Dtype


@dataclass(frozen=True)
class Done:
    """What was written, and how far it is off."""

    folder: Path
    parity: list[Parity]  # against the model with weights of the storage type: is the format right
    loss: list[Parity]  # against the model in float32: what the storage type costs; empty for fp32


def export(
    location: Path,
    folder: Path,
    *,
    to: str = "safetensors",
    towers: Sequence[str] = ("all",),
    dtype: Dtype = "fp32",
    licence: str | None = None,
    weights: Weights = "raw",
) -> Done:
    """Export towers to a format and check them through its target.

    Args:
        location: a run folder, a checkpoint in it, or an exported folder.
        folder: is created; must not exist.
        to: name of a format; dashes and underscores are the same.
        weights: of a run: as trained, or their moving average.
        licence: of the weights, an SPDX name for the card.

    Raises:
        ConfigError: no such format.
        ExportError: the format cannot hold a tower or the type, the folder exists, or the target differs.
        MissingPackage: the target is not installed.
    """
    export_format = new_format(to)
    export_format.check_packages()
    if folder.exists():
        raise ExportError(f"'{folder}' exists already. Remove it, or name another folder.")
    if dtype not in export_format.dtypes:
        raise ExportError(
            f"{format_name(export_format)} does not store {dtype}; it stores {', '.join(export_format.dtypes)}. "
            f"{dtype} is stored by: {', '.join(formats_of(dtype))}."
        )
    part = open_part(location, towers, weights=weights)
    refuse(export_format, part)
    rounded = part.stored_as(dtype)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder.parent / f".writing-{folder.name}-{os.getpid()}"
    try:
        scratch.mkdir()
        export_format.write(rounded, scratch, dtype=dtype)
        read = export_format.read(scratch, rounded)
        parity = check(export_format, rounded, read, dtype=dtype)
        loss = [] if dtype == "fp32" else compare(part, read, limit=1.0)
        write_card(scratch, part, dtype=dtype, export_format=export_format, parity=parity, loss=loss, licence=licence)
        seal(scratch)
        scratch.rename(folder)
    except OSError as error:
        raise ExportError(f"cannot write '{folder}': {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Done(folder, parity, loss)


def new_format(name: str) -> ExportFormat:
    """A format by name, with its defaults.

    Raises:
        ConfigError: no such format; lists those that there are.
    """
    cls = EXPORTS.get(name.replace("-", "_"))
    made: ExportFormat = cls(cls.Config())
    return made


def formats_of(dtype: Dtype) -> list[str]:
    """Formats that store a type."""
    assert dtype in DTYPES
    return [command_name(name) for name in EXPORTS.names() if dtype in EXPORTS.get(name).dtypes]


def refuse(export_format: ExportFormat, part: Part) -> None:
    """Say which towers a format cannot hold, which it can, and which formats can hold them all.

    Raises:
        ExportError: there is such a tower.
    """
    refusals = export_format.refusals(part)
    if not refusals:
        return
    reasons = "\n".join(f"  {modality}: {why}" for modality, why in refusals.items())
    lines = [f"{format_name(export_format)} cannot hold this:", reasons]
    held = [name for name in part.modalities if name not in refusals]
    if held and "part" not in refusals and len(held) < len(part.modalities):
        lines.append(f"It may hold: --tower {','.join(held)}")
    able = [command_name(name) for name in EXPORTS.names() if not new_format(name).refusals(part)]
    lines.append(f"Formats that hold {', '.join(part.modalities)} of this model: {', '.join(able)}.")
    raise ExportError("\n".join(lines))
