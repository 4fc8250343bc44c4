"""Embedded sets become an index: all of one model, one width and one space."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mmcontrast.errors import SearchError
from mmcontrast.export.embedded import EmbeddedPart, read_parts
from mmcontrast.export.embedded import read_about as read_embedded
from mmcontrast.exported import seal
from mmcontrast.geometry.base import Geometry
from mmcontrast.packages import check_installed
from mmcontrast.search.folder import PACKAGES, ROWS, WORDS, IndexAbout, ModalityAbout, geometry_of, write_about
from mmcontrast.search.nearest import Dtype, Kind, Nearest
from mmcontrast.search.points import Points
from mmcontrast.search.rows import Rows, RowsWriter, all_texts
from mmcontrast.search.tune import QUERIES, tune
from mmcontrast.search.words import Words

SAME = {  # of embeddings.json -> in words
    "dim": "width",
    "geometry": "geometry",
    "geometry_state": "geometry's numbers",
    "towers": "towers",
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is indexed, how, into which folder."""

    embeddings: tuple[Path, ...]
    out: Path
    kind: Kind = "exact"
    dtype: Dtype = "fp32"
    recall: float = 0.95  # of the 10 nearest that an approximate index must find


def build(job: Job) -> IndexAbout:
    """Write an index; nothing is left behind where it fails.

    Raises:
        MissingPackage: faiss, bm25s or pyarrow is not installed.
        ExportError: embeddings that are missing or damaged.
        SearchError: embeddings of several models or widths; a folder that is not empty; too low a recall.
    """
    check_installed(PACKAGES, who="search", extra="search")
    about = _agreed(job)
    if job.out.exists() and (not job.out.is_dir() or any(job.out.iterdir())):
        raise SearchError(f"'{job.out}' is there already. Use another --out, or remove it.")
    scratch = job.out.with_name(f".{job.out.name}.{os.getpid()}")
    scratch.mkdir(parents=True)
    try:
        about = _write(job, about, scratch)
        write_about(scratch, about)
        seal(scratch)
        if job.out.is_dir():
            job.out.rmdir()
        scratch.replace(job.out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return about


def _agreed(job: Job) -> IndexAbout:
    """What the sets say of their model, which must be the same."""
    abouts = [read_embedded(folder) for folder in job.embeddings]
    first = abouts[0]
    for folder, other in zip(job.embeddings, abouts, strict=True):
        missing = [name for name in SAME if name not in other]
        if missing:
            raise SearchError(
                f"'{folder}' does not say its {', '.join(missing)}: an older version wrote it. Embed again."
            )
        different = [words for name, words in SAME.items() if other[name] != first[name]]
        if different:
            raise SearchError(
                f"'{folder}' and '{job.embeddings[0]}' cannot share an index; different: {', '.join(different)} "
                f"(width {other['dim']} from '{other['model']}', width {first['dim']} from '{first['model']}')."
            )
    return IndexAbout(
        kind=job.kind,
        dtype=job.dtype,
        dim=first["dim"],
        rows=sum(about["source"]["rows"] for about in abouts),
        geometry=first["geometry"],
        geometry_state=first["geometry_state"],
        model=first["model"],
        towers=first["towers"],
        sources=[about["source"] | {"location": about["location"]} for about in abouts],
        text_field=next((about["text_field"] for about in abouts if about["text_field"]), None),
        has_words=False,
    )


def _write(job: Job, about: IndexAbout, folder: Path) -> IndexAbout:
    counts = _write_rows(job, folder / ROWS)
    if not counts:
        raise SearchError("no row of these embeddings could be read: there is nothing to index.")
    geometry = geometry_of(about.geometry, about.geometry_state, where=str(job.embeddings[0]))
    points = {}
    for modality, count in counts.items():
        _write_points(job, folder, modality, count=count, dim=about.dim)
        points[modality] = _indexed(job, geometry, folder, modality)
    modalities = {}
    for modality, each in points.items():
        asking = next((name for name in ("text", *points) if name in points and name != modality), modality)
        tuned = tune(each, points[asking].sample(QUERIES, seed=1), recall=job.recall)
        modalities[modality] = ModalityAbout(
            points=len(each), width=tuned.width, recall=tuned.recall, asked_with=asking
        )
    words = Words.of(all_texts(Rows(folder / ROWS), about.text_field))
    if words is not None:
        words.write(folder / WORDS)
    return replace(about, modalities=modalities, has_words=words is not None)


def _parts(job: Job) -> Iterator[tuple[int, EmbeddedPart]]:
    for number, folder in enumerate(job.embeddings):
        for part in read_parts(folder):
            yield number, part


def _write_rows(job: Job, path: Path) -> dict[str, int]:
    """Write the rows' names; return how many points each modality has."""
    counts: dict[str, int] = {}
    writer = RowsWriter(path)
    for source, part in _parts(job):
        writer.add(keys=part.keys, source=source, positions=part.positions, fields=part.fields)
        for modality, present in part.present.items():
            counts[modality] = counts.get(modality, 0) + int(present.sum())
    writer.close()
    return {modality: count for modality, count in sorted(counts.items()) if count}


def _write_points(job: Job, folder: Path, modality: str, *, count: int, dim: int) -> None:
    """Write the points of the rows that have some, and which rows these are."""
    stored = np.float32 if job.dtype == "fp32" else np.float16
    values = np.lib.format.open_memmap(folder / f"{modality}.npy", mode="w+", dtype=stored, shape=(count, dim))
    rows = np.empty(count, np.int64)
    place = row = 0
    for _, part in _parts(job):
        if modality in part.points:
            here = part.present[modality].numpy().nonzero()[0]
            values[place : place + len(here)] = part.points[modality].numpy()[here]
            rows[place : place + len(here)] = row + here
            place += len(here)
        row += len(part.keys)
    values.flush()
    np.save(folder / f"{modality}.rows.npy", rows)


def _indexed(job: Job, geometry: Geometry, folder: Path, modality: str) -> Points:
    """Let faiss learn a modality's points, and write what it made."""
    values = np.load(folder / f"{modality}.npy", mmap_mode="r")
    rows = np.load(folder / f"{modality}.rows.npy")
    length = geometry.inner_keys(torch.from_numpy(values[:1].astype(np.float32))).shape[1]
    finder = Nearest.empty(kind=job.kind, dtype=job.dtype, length=length, count=len(values))
    points = Points(geometry, values, rows, finder, width=0)
    fill(points)
    finder.write(folder / f"{modality}.faiss")
    return points


def fill(points: Points) -> None:
    """Train an empty finder on a sample of the points and add them all."""
    if needed := points.finder.training_rows:
        points.finder.train(points.geometry.inner_keys(points.sample(needed, seed=0)).numpy())
    for _, block in points.blocks():
        points.finder.add(points.geometry.inner_keys(block).numpy())
