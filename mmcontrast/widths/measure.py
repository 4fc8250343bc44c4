"""Texts look for their pictures or sounds: how often they are found, and how many of them a second."""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmcontrast.downstream.close import paired
from mmcontrast.downstream.towers import EmbeddedRows, Towers
from mmcontrast.errors import ConfigError
from mmcontrast.export.embedded import texts_of
from mmcontrast.widths.codes import Binary, Code, Int8, Sparse, Truncated, principal_axes
from mmcontrast.widths.sparse import fit_sparse

TIMED_QUERIES, TIMED_SECONDS = 200, 0.5


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is measured."""

    source: str  # rows with texts and the modality
    model: Path | None = None
    modality: str = "image"
    widths: tuple[int, ...] = ()  # none: halves of the whole width, down to 16
    active: tuple[int, ...] = ()  # of sparse codes; they learn from fit
    fit: str | None = None  # rows with texts and the modality that axes and sparse codes learn from
    corpus_rows: int = 100_000  # that are searched when it is timed: the rows, repeated
    device: str = "cpu"
    seed: int = 0


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    name: str
    size: int
    bytes: float
    recall: float  # share of texts whose first answer says the same
    queries_per_second: float


@dataclass(frozen=True)
class Measured:
    """The table, and what it is of."""

    lines: list[Line]
    queries: int
    rows: int
    corpus_rows: int


def measure(job: Job) -> Measured:
    """Measure every way to keep the embeddings of a source.

    Raises:
        ConfigError: widths that the model does not have, or sparse codes without rows to learn from.
        HeadError: embeddings of another model, or rows without texts.
    """
    towers = Towers(job.model, device=job.device)
    rows = towers.rows(job.source, (job.modality,)).having(job.modality)
    codes = _codes(job, towers)
    texts, right = _questions(rows)
    queries, points = towers.texts(texts), rows.z[job.modality]
    copies = max(1, round(job.corpus_rows / len(points)))
    lines = [
        Line(
            code.name,
            code.size,
            code.bytes,
            recall(code.scores(queries, points), right),
            speed(code, queries, points, copies),
        )
        for code in codes
    ]
    return Measured(lines, len(texts), len(points), copies * len(points))


def recall(scores: Float[Tensor, "Q N"], right: Bool[Tensor, "Q N"]) -> float:
    """Share of queries whose best row is a right one; of several equally good rows, one is drawn."""
    best = scores >= scores.max(dim=1, keepdim=True).values
    return float(((best & right).sum(dim=1) / best.sum(dim=1)).mean())


def speed(code: Code, queries: Tensor, rows: Tensor, copies: int) -> float:
    """Queries a second of processor time, one at a time, 10 answers each, one thread."""
    faiss = importlib.import_module("faiss")
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        search, asked = code.index(rows, copies), code.asked(queries)[:TIMED_QUERIES]
        search(asked[:1])
        began = time.process_time()
        done = 0
        while done < len(asked) and time.process_time() - began < TIMED_SECONDS:
            search(np.ascontiguousarray(asked[done : done + 1]))
            done += 1
        return done / (time.process_time() - began)
    finally:
        faiss.omp_set_num_threads(threads)


def _codes(job: Job, towers: Towers) -> list[Code]:
    dim = towers.embedder.dim
    widths = job.widths or tuple(dim // 2**power for power in range(10) if dim // 2**power >= 16 or power == 0)
    for width in widths:
        if not 1 <= width <= dim:
            raise ConfigError(f"--widths: {width} is not between 1 and {dim}, the model's width.")
    if job.active and job.fit is None:
        raise ConfigError("--sparse: codes are learned; name rows to learn from with --fit, other than the source.")
    codes: list[Code] = [Truncated(width) for width in widths]
    codes += [Int8(width) for width in widths]
    codes += [Binary(width) for width in widths if width % 8 == 0]
    if job.fit is not None:
        fit = towers.rows(job.fit, (job.modality,)).having(job.modality)
        text, media = paired(fit, job.modality, towers)
        axes = principal_axes(torch.cat([text, media]))
        codes += [Truncated(width, axes, "pca") for width in widths if width < dim]
        codes += [Sparse(active, fit_sparse(text, media, active=active, seed=job.seed)) for active in job.active]
    return codes


def _questions(rows: EmbeddedRows) -> tuple[list[str], Bool[Tensor, "Q N"]]:
    """Every first text once, and the rows that say it."""
    said = [next(iter(texts_of(fields, None)), None) for fields in rows.fields]
    texts = list(dict.fromkeys(text for text in said if text is not None))
    if not texts:
        raise ConfigError(f"no row of '{rows.source}' has a text to look for it by.")
    place = {text: number for number, text in enumerate(texts)}
    right = torch.zeros(len(texts), len(said), dtype=torch.bool)
    for number, text in enumerate(said):
        if text is not None:
            right[place[text], number] = True
    return texts, right
