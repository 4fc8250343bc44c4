"""Random embeddings of any columns, and a reader of single similarities in double precision for plain loops."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast.types import Embedded, Embeddings

GROUP = torch.tensor([0, 1, 0, 2, -1, -1, 2, 3, 1])
ROWS = len(GROUP)


def made_up(
    *columns: str, seed: int = 0, absent: float = 0.0, rows: int = ROWS, dim: int = 8, **labels: Tensor
) -> Embeddings:
    """Unit vectors with missing cells; the gradients of ``z`` can be read."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name in columns:
        z = normalize(torch.randn(rows, dim, generator=generator), dim=-1)
        present = torch.rand(rows, generator=generator) >= absent
        made[name] = Embedded((z * present[:, None]).requires_grad_(), present)
    return Embeddings(made, labels, [str(row) for row in range(rows)])


class Cells:
    """One cell at a time, as a paper's formula names them."""

    def __init__(self, emb: Embeddings, group: str | None = None) -> None:
        self.emb, self.group = emb, group
        self.rows = range(len(emb.row_keys))

    def here(self, column: str, row: int) -> bool:
        return bool(self.emb.columns[column].present[row])

    def both(self, *columns: str) -> list[int]:
        return [row for row in self.rows if all(self.here(column, row) for column in columns)]

    def vector(self, column: str, row: int) -> Tensor:
        return self.emb.columns[column].z[row].detach().double()

    def sim(self, a: str, i: int, b: str, j: int) -> float:
        return float(self.vector(a, i) @ self.vector(b, j))

    def alike(self, i: int, j: int) -> bool:
        if self.group is None:
            return False
        group = self.emb.labels[self.group]
        return i != j and int(group[i]) >= 0 and int(group[i]) == int(group[j])

    def negatives(self, column: str, row: int) -> list[int]:
        return [j for j in self.rows if j != row and self.here(column, j) and not self.alike(row, j)]


def mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


def both_ways(pair: tuple[str, str]) -> tuple[tuple[str, str], tuple[str, str]]:
    return (pair[0], pair[1]), (pair[1], pair[0])


def log_sum(values: Iterable[float]) -> float:
    return math.log(sum(math.exp(value) for value in values))
