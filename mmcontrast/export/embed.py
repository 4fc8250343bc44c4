"""Embed every row of a source into files: parts that are written whole, so that a broken run goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcontrast.config import to_tree
from mmcontrast.data.decode import decode_audio, decode_image
from mmcontrast.errors import ConfigError, SkipSample
from mmcontrast.evaluate.collection import Collection
from mmcontrast.evaluate.encoder import TowerEncoder, load_encoder
from mmcontrast.evaluate.identity import towers_sha256
from mmcontrast.export.embedded import ABOUT, TEXT_FIELDS, part_file
from mmcontrast.export.plain_folder import open_source
from mmcontrast.packages import check_installed
from mmcontrast.specs import Long

MEDIA = ("image", "audio")
PLACES = ("model", "location")  # may have moved since


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is embedded, with what, into which folder."""

    source: str
    model: str
    out: Path
    modalities: tuple[str, ...] = ()  # none: those that both source and model have
    text_field: str | None = None  # of a row; null: caption, captions or text, whichever the first row has
    part_rows: int = 4096
    batch_rows: int = 64
    long: Long | None = None  # what is heard of sounds longer than the window; null: as the tower says
    device: str = "cpu"
    processes: int = 1


@dataclass(frozen=True)
class Embedded:
    """What a finished run has written."""

    rows: int
    parts: int
    written: int  # parts that were not there before
    bad: int  # rows of which something could not be read, in the parts written now


def embed(job: Job) -> Embedded:
    """Embed a source; parts that are there already are left as they are.

    Raises:
        ConfigError: nothing that both source and model have; or the folder holds embeddings of something else.
        MissingData, ShardError: no such source.
        MissingPackage: pyarrow is not installed.
    """
    check_installed(["pyarrow"], who="embed", extra="export")
    collection, encoder = open_source(job.source), opened_encoder(job)
    about = described(job, collection, encoder)
    job.out.mkdir(parents=True, exist_ok=True)
    _claim(job.out, about)
    count = -(-len(collection) // job.part_rows)
    missing = [number for number in range(count) if not part_file(job.out, number, "parquet").exists()]
    if job.processes > 1 and len(missing) > 1:
        with ProcessPoolExecutor(job.processes, mp_context=get_context("spawn")) as pool:
            bad = sum(pool.map(partial(_one_part, job, about), missing))
    else:
        bad = sum(_write_part(job, about, collection, encoder, number) for number in missing)
    return Embedded(len(collection), count, len(missing), bad)


def opened_encoder(job: Job) -> TowerEncoder:
    """The model of a job, with its rule for long sounds.

    Raises:
        CheckpointError, RunFolderError, NeedsError, ConfigError: there is none, or it has no such rule.
    """
    encoder = load_encoder(Path(job.model), device=job.device)
    return encoder if job.long is None else encoder.hearing(job.long)


def described(job: Job, collection: Collection, encoder: TowerEncoder) -> dict[str, Any]:
    """What the embeddings depend on: a folder holds those of one source, one model and one size of parts."""
    first = collection.info(0) if len(collection) else {}
    field = job.text_field or next((name for name in TEXT_FIELDS if name in first), None)
    offered = [name for name in MEDIA if name in collection.modalities] + (["text"] if field else [])
    chosen = list(job.modalities) or [name for name in offered if name in encoder.modalities]
    for name in chosen:
        if name not in offered:
            raise ConfigError(f"'{job.source}' has no {name}; it has: {', '.join(offered) or 'nothing to embed'}.")
        if name not in encoder.modalities:
            raise ConfigError(f"'{job.model}' has no {name} tower; it has: {', '.join(encoder.modalities)}.")
    if not chosen:
        raise ConfigError(
            f"'{job.source}' has {', '.join(offered) or 'nothing to embed'}, '{job.model}' has "
            f"{', '.join(encoder.modalities)}: nothing in common."
        )
    return {
        "source": collection.facts(),
        "location": job.source,
        "model": job.model,
        "model_identity": encoder.identity,
        "towers": towers_sha256(encoder.model),
        "geometry": to_tree(encoder.model.config.geometry),
        "geometry_state": {name: value.tolist() for name, value in encoder.geometry.state_dict().items()},
        "modalities": sorted(chosen),
        "text_field": field if "text" in chosen else None,
        "dim": encoder.model.config.dim,
        "part_rows": job.part_rows,
    }


def _claim(folder: Path, about: dict[str, Any]) -> None:
    path = folder / ABOUT
    if path.is_file():
        there = json.loads(path.read_text(encoding="utf-8"))
        different = sorted(name for name in about if name not in PLACES and there.get(name) != about[name])
        if different:
            raise ConfigError(
                f"'{folder}' holds embeddings of something else; different: {', '.join(different)}. Use another --out."
            )
        return
    _replace(path, json.dumps(about, indent=1, ensure_ascii=False).encode())


def _one_part(job: Job, about: dict[str, Any], number: int) -> int:
    """In a process of a pool: models and sources are opened once a process."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // job.processes))
    key = (job.source, job.model)
    if key not in _OPENED:
        _OPENED[key] = (open_source(job.source), opened_encoder(job))
    return _write_part(job, about, *_OPENED[key], number)


_OPENED: dict[tuple[str, str], tuple[Collection, TowerEncoder]] = {}


def _write_part(job: Job, about: dict[str, Any], collection: Collection, encoder: TowerEncoder, number: int) -> int:
    import pyarrow
    import pyarrow.parquet
    from safetensors.torch import save

    positions = range(number * job.part_rows, min((number + 1) * job.part_rows, len(collection)))
    errors: dict[int, str] = {}
    vectors: dict[str, Tensor] = {}
    for modality in about["modalities"]:
        z, present = _vectors(job, about, collection, encoder, modality, positions, errors)
        vectors |= {modality: z, f"{modality}.present": present}
    infos = [_info(collection, position) for position in positions]
    table = pyarrow.table(
        {
            "key": [collection.key(position) for position in positions],
            "position": list(positions),
            "fields": [json.dumps(info, ensure_ascii=False, default=str) for info in infos],
            "error": [errors.get(position) for position in positions],
        }
    )
    _replace(part_file(job.out, number, "safetensors"), save(vectors))
    path = part_file(job.out, number, "parquet")  # last: it says that the part is whole
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    pyarrow.parquet.write_table(table, scratch)
    scratch.replace(path)
    return len(errors)


def _vectors(
    job: Job,
    about: dict[str, Any],
    collection: Collection,
    encoder: TowerEncoder,
    modality: str,
    positions: Sequence[int],
    errors: dict[int, str],
) -> tuple[Tensor, Tensor]:
    """One modality of a part: vectors with zeros where a row lacks it or is bad, and where they are real."""
    z = torch.zeros(len(positions), about["dim"])
    present = torch.zeros(len(positions), dtype=torch.bool)
    for start in range(0, len(positions), job.batch_rows):
        places, items = [], []
        for place in range(start, min(start + job.batch_rows, len(positions))):
            position = positions[place]
            try:
                item = _item(about, collection, encoder, modality, position)
            except SkipSample as error:
                errors[position] = "; ".join(filter(None, (errors.get(position), f"{modality}: {error}")))
                continue
            if item is not None:
                items.append(item)
                places.append(place)
        if items:
            z[places] = encoder.encode(modality, items)
            present[places] = True
    return z, present


def _item(about: dict[str, Any], collection: Collection, encoder: TowerEncoder, modality: str, position: int) -> Any:
    """One decoded item; None where the row has none of this modality."""
    key = collection.key(position)
    if modality == "text":
        value = collection.info(position).get(about["text_field"])
        value = value[0] if isinstance(value, list) and value else value
        if value is not None and not isinstance(value, str):
            raise SkipSample(f"{key}: '{about['text_field']}' holds no string")
        return value
    if not collection.extension(position, modality):
        return None
    content = collection.content(position, modality)
    if modality == "image":
        return decode_image(content, key=key)
    return decode_audio(content, key=key, sample_rate_hz=encoder.sample_rate_hz, max_seconds=encoder.read_seconds)


def _info(collection: Collection, position: int) -> dict[str, Any]:
    try:
        return collection.info(position)
    except SkipSample:
        return {}


def _replace(path: Path, content: bytes) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_bytes(content)
    scratch.replace(path)
