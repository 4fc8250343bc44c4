"""Ways to keep an embedding in fewer bytes, each with the scores that it gives and an index that is timed.

Letters: N rows, Q queries, D coordinates, W kept ones, L latents.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast.objectives.sparse_codes import SparseCodes

Search = Callable[[np.ndarray], Any]  # one query (1, ...) -> its nearest rows


class Code(Protocol):
    """One way to keep embeddings."""

    @property
    def name(self) -> str:
        """The kind: fp32, int8, binary, pca or sparse."""

    @property
    def size(self) -> int:
        """Coordinates, or active latents."""

    @property
    def bytes(self) -> float:
        """Of one embedding."""

    def scores(self, queries: Float[Tensor, "Q D"], rows: Float[Tensor, "N D"]) -> Float[Tensor, "Q N"]:
        """What rows are ranked by."""

    def index(self, rows: Float[Tensor, "N D"], copies: int) -> Search:
        """An exact index of the rows, each held ``copies`` times."""

    def asked(self, queries: Float[Tensor, "Q D"]) -> np.ndarray:
        """Queries as the index takes them."""


@dataclass(frozen=True)
class Truncated:
    """The first W coordinates, scaled to length 1 again; what Matryoshka training makes good.

    Source: Kusupati et al. 2022, arXiv:2205.13147.
    """

    size: int
    basis: Float[Tensor, "D D"] | None = None  # principal axes by falling variance; None: as trained
    name: str = "fp32"

    @property
    def bytes(self) -> float:
        """Four a coordinate."""
        return 4.0 * self.size

    def kept(self, z: Float[Tensor, "N D"]) -> Float[Tensor, "N W"]:
        """Shorten."""
        return normalize((z if self.basis is None else z @ self.basis)[:, : self.size], dim=1)

    def scores(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Cosine of what is kept."""
        return self.kept(queries) @ self.kept(rows).T

    def index(self, rows: Tensor, copies: int) -> Search:
        """faiss's flat index."""
        index = _faiss().IndexFlatIP(self.size)
        _fill(index, self.kept(rows).numpy(), copies)
        return lambda query: index.search(query, 10)

    def asked(self, queries: Tensor) -> np.ndarray:
        """Kept coordinates."""
        return self.kept(queries).numpy()


@dataclass(frozen=True)
class Int8:
    """The first W coordinates in steps of 1/255 of their range, as faiss has them; queries are not rounded."""

    size: int
    name: str = "int8"

    @property
    def bytes(self) -> float:
        """One a coordinate."""
        return float(self.size)

    def rounded(self, rows: Float[Tensor, "N W"]) -> Float[Tensor, "N W"]:
        """Rows as an index gives them back: the middle of their step."""
        low, high = rows.min(dim=0).values, rows.max(dim=0).values
        step = ((high - low) / 255).clamp_min(1e-12)
        return low + (((rows - low) / step).floor().clamp(0, 255) + 0.5) * step

    def scores(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Dot products with the rounded rows."""
        kept = Truncated(self.size)
        return kept.kept(queries) @ self.rounded(kept.kept(rows)).T

    def index(self, rows: Tensor, copies: int) -> Search:
        """faiss's scalar quantizer."""
        faiss, kept = _faiss(), Truncated(self.size).kept(rows).numpy()
        index = faiss.IndexScalarQuantizer(self.size, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
        index.train(kept)
        _fill(index, kept, copies)
        return lambda query: index.search(query, 10)

    def asked(self, queries: Tensor) -> np.ndarray:
        """Kept coordinates."""
        return Truncated(self.size).asked(queries)


@dataclass(frozen=True)
class Binary:
    """The signs of the first W coordinates, less their mean over the rows or the queries; Hamming distance."""

    size: int  # a multiple of 8
    name: str = "binary"

    @property
    def bytes(self) -> float:
        """An eighth a coordinate."""
        return self.size / 8

    def signs(self, z: Float[Tensor, "N D"]) -> Float[Tensor, "N W"]:
        """1 where a coordinate is above its mean, else -1: each side's mean, which differ by the modality gap."""
        kept = z[:, : self.size]
        return torch.where(kept > kept.mean(dim=0), 1.0, -1.0)

    def scores(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Equal signs less different ones."""
        return self.signs(queries) @ self.signs(rows).T

    def index(self, rows: Tensor, copies: int) -> Search:
        """faiss's flat binary index."""
        index = _faiss().IndexBinaryFlat(self.size)
        _fill(index, self.asked(rows), copies)
        return lambda query: index.search(query, 10)

    def asked(self, queries: Tensor) -> np.ndarray:
        """Packed bits."""
        return np.packbits(self.signs(queries).numpy() > 0, axis=1)


@dataclass(frozen=True)
class Sparse:
    """At most ``size`` latents of a learned autoencoder: a float and a 16-bit place each; dot products.

    Source: Wen et al. 2025, arXiv:2503.01776.
    """

    size: int
    objective: SparseCodes
    name: str = "sparse"

    @property
    def bytes(self) -> float:
        """Six a latent; eight where there are more than 65,536 of them."""
        return self.size * (6.0 if self.objective.autoencoder.encoder.out_features <= 65536 else 8.0)

    @torch.no_grad()
    def coded(self, z: Float[Tensor, "N D"]) -> Float[Tensor, "N L"]:
        """Encode."""
        return self.objective.codes(z)

    def scores(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Cosine of codes."""
        return self.coded(queries) @ self.coded(rows).T

    def index(self, rows: Tensor, copies: int) -> Search:
        """Lists of the rows that use each latent (scipy's compressed columns)."""
        from scipy.sparse import csc_matrix, vstack

        columns = csc_matrix(vstack([csc_matrix(self.coded(rows).numpy())] * copies)).T.tocsr()

        def search(query: np.ndarray) -> np.ndarray:
            used = query[0].nonzero()[0]
            scores = np.zeros(columns.shape[1], np.float32)
            for latent in used:
                span = slice(columns.indptr[latent], columns.indptr[latent + 1])
                scores[columns.indices[span]] += query[0, latent] * columns.data[span]
            return np.argpartition(scores, -10)[-10:]

        return search

    def asked(self, queries: Tensor) -> np.ndarray:
        """Codes."""
        return self.coded(queries).numpy()


def principal_axes(rows: Float[Tensor, "N D"]) -> Float[Tensor, "D D"]:
    """Axes by falling mean square of the rows: the rotation whose first W coordinates keep most of them."""
    _, vectors = torch.linalg.eigh(rows.double().T @ rows.double())
    return vectors.flip(dims=(1,)).float()


def _fill(index: Any, rows: np.ndarray, copies: int) -> None:
    for _ in range(copies):
        index.add(np.ascontiguousarray(rows))


def _faiss() -> Any:
    return importlib.import_module("faiss")
