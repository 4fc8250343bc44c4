"""The points of an index on a plane, and how far its modalities lie apart."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast.errors import SearchError
from mmcontrast.evaluate.metrics.health import gap, separability
from mmcontrast.evaluate.paired import two_dimensions
from mmcontrast.evaluate.plots import scatter
from mmcontrast.export.embedded import texts_of
from mmcontrast.search.index import Index

DRAWN_ROWS = 200
GAP_POINTS = 20_000  # of a modality, that its mean is taken over


def methods() -> tuple[str, ...]:
    """Ways onto the plane: PCA, and UMAP where umap-learn is installed."""
    return ("PCA", "UMAP") if find_spec("umap") is not None else ("PCA",)


def plane(z: Float[Tensor, "N D"], method: str) -> Float[Tensor, "N 2"]:
    """Points on a plane.

    Source: McInnes et al. 2018, arXiv:1802.03426 (UMAP).

    Raises:
        SearchError: no such method here.
    """
    if method not in methods():
        raise SearchError(f"'{method}' is none of {', '.join(methods())}; UMAP: pip install umap-learn.")
    if method == "PCA":
        return two_dimensions(z)
    import umap

    neighbours = max(2, min(15, len(z) - 1))
    reducer = umap.UMAP(n_neighbors=neighbours, metric="euclidean", random_state=0)
    return torch.from_numpy(np.asarray(reducer.fit_transform(z.numpy())))


def drawn(index: Index, method: str) -> str:
    """Some rows as SVG: a point for each modality, lines between those of one row.

    Rows that have the most modalities are drawn first, so that pairs are seen.
    """
    count = np.zeros(len(index.rows), np.int64)
    for name in index.modalities:
        count[index.points(name).rows] += 1
    order = np.random.default_rng(0).permutation(len(count))
    chosen = np.sort(order[np.argsort(-count[order], kind="stable")][:DRAWN_ROWS])
    values, labels = [], []
    for name in index.modalities:
        points = index.points(name)
        places = np.isin(points.rows, chosen).nonzero()[0]
        values.append(torch.from_numpy(points.values[places].astype(np.float32)))
        for row in points.rows[places].tolist():
            text = next(iter(texts_of(index.rows[row].fields, index.about.text_field)), "")
            labels.append({"modality": name, "row": row, "label": f"{index.rows[row].key} {text}"})
    flat = plane(torch.cat(values), method)
    return scatter([label | {"x": float(x), "y": float(y)} for label, (x, y) in zip(labels, flat, strict=True)])


@dataclass(frozen=True)
class Apart:
    """Two modalities of an index."""

    a: str
    b: str
    gap: float  # distance of their means
    separability: float | None  # of rows that have both; None: fewer than 10


def apart(index: Index) -> list[Apart]:
    """How far each two modalities lie apart, over all rows or a sample of them."""
    found = []
    for a, b in combinations(index.modalities, 2):
        of_a, of_b = index.points(a), index.points(b)
        _, in_a, in_b = np.intersect1d(of_a.rows, of_b.rows, return_indices=True)
        both = [torch.from_numpy(of.values[places[:GAP_POINTS]].astype(np.float32))
                for of, places in ((of_a, in_a), (of_b, in_b))]  # fmt: skip
        distance = gap(of_a.sample(GAP_POINTS, seed=0), of_b.sample(GAP_POINTS, seed=0))
        found.append(Apart(a, b, distance, separability(*both) if len(in_a) >= 10 else None))
    return found


def gap_table(index: Index) -> str:
    """The gaps as HTML."""
    rows = "".join(
        f"<tr><td>{escape(each.a)} and {escape(each.b)}</td><td>{each.gap:.3f}</td>"
        f"<td>{'' if each.separability is None else f'{each.separability:.3f}'}</td></tr>"
        for each in apart(index)
    )
    if not rows:
        return "<p>The index has one modality, so no gap.</p>"
    heads = "<th>modalities</th><th>distance of their means</th><th>told apart by a line (0.5: not at all)</th>"
    return f'<table class="gaps"><tr>{heads}</tr>{rows}</table>'
