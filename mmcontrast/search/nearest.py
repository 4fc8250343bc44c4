"""The nearest of many vectors by dot product, through faiss: all of them compared, a graph, or lists around centres.

Letters: N vectors, L coordinates, Q queries, K answers.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float32, Int64

Kind = Literal["exact", "hnsw", "ivf"]
Dtype = Literal["fp32", "fp16", "int8"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
LINKS = 32  # of a vector of the graph to others
BUILD_WIDTH = 100  # vectors looked at for the links of a new one
POINTS_OF_A_CENTRE = 64  # that k-means sees


class Nearest:
    """One faiss index; ``width`` is what it looks at for a query, in its own measure (efSearch, nprobe).

    Source: Malkov and Yashunin 2016, arXiv:1603.09320 (hnsw); Johnson et al. 2017, arXiv:1702.08734 (ivf, faiss).
    """

    def __init__(self, index: Any, kind: Kind) -> None:
        self._index, self.kind = index, kind

    @classmethod
    def empty(cls, *, kind: Kind, dtype: Dtype, length: int, count: int) -> Nearest:
        """An index for ``count`` vectors of ``length`` coordinates; it is trained before vectors are added."""
        faiss = _faiss()
        product = faiss.METRIC_INNER_PRODUCT
        quantizer = {"fp16": faiss.ScalarQuantizer.QT_fp16, "int8": faiss.ScalarQuantizer.QT_8bit}.get(dtype)
        if kind == "exact":
            flat = faiss.IndexFlatIP(length)
            return cls(flat if quantizer is None else faiss.IndexScalarQuantizer(length, quantizer, product), kind)
        if kind == "hnsw":
            index = (
                faiss.IndexHNSWFlat(length, LINKS, product)
                if quantizer is None
                else faiss.IndexHNSWSQ(length, quantizer, LINKS, product)
            )
            index.hnsw.efConstruction = BUILD_WIDTH
            return cls(index, kind)
        coarse, lists = faiss.IndexFlatIP(length), num_lists(count)
        if quantizer is None:
            index = faiss.IndexIVFFlat(coarse, length, lists, product)
        else:
            index = faiss.IndexIVFScalarQuantizer(coarse, length, lists, quantizer, product, False)
        index.cp.max_points_per_centroid = POINTS_OF_A_CENTRE
        index.cp.min_points_per_centroid = 1
        index.cp.niter = 10
        return cls(index, kind)

    @property
    def training_rows(self) -> int:
        """How many vectors :meth:`train` has use for; 0: it needs none."""
        if self._index.is_trained:
            return 0
        lists = int(self._index.nlist) if self.kind == "ivf" else 1
        return max(POINTS_OF_A_CENTRE * lists, 20_000)

    def train(self, vectors: Float32[np.ndarray, "N L"]) -> None:
        """Find centres and ranges."""
        self._index.train(np.ascontiguousarray(vectors, dtype=np.float32))

    def add(self, vectors: Float32[np.ndarray, "N L"]) -> None:
        """Add vectors behind those that are there."""
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def widest(self) -> int:
        """Width at which more finds no more: all lists; a thousand vectors of a graph, or all."""
        if self.kind == "ivf":
            return int(self._index.nlist)
        return min(len(self), 4096) if self.kind == "hnsw" else 0

    def find(self, queries: Float32[np.ndarray, "Q L"], *, count: int, width: int) -> Int64[np.ndarray, "Q K"]:
        """Places of the ``count`` largest dot products of each query, best first; -1 where it found fewer."""
        faiss = _faiss()
        parameters = None
        if self.kind == "hnsw":
            parameters = faiss.SearchParametersHNSW(efSearch=max(width, count))
        elif self.kind == "ivf":
            parameters = faiss.SearchParametersIVF(nprobe=width)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        places: np.ndarray = self._index.search(queries, min(count, len(self)), params=parameters)[1]
        return places

    def write(self, path: Path) -> None:
        """Write to a file."""
        faiss = _faiss()
        faiss.write_index(self._index, str(path))

    @classmethod
    def read(cls, path: Path, kind: Kind) -> Nearest:
        """Read a file that :meth:`write` has written."""
        faiss = _faiss()
        return cls(faiss.read_index(str(path)), kind)


def _faiss() -> Any:
    """The package, without its type stubs: they name fewer index classes and parameters than it has."""
    return importlib.import_module("faiss")


def num_lists(count: int) -> int:
    """Lists of an ivf index: twice the square root of the vectors, and at least 16 vectors each."""
    return max(1, min(round(2 * count**0.5), count // 16))
