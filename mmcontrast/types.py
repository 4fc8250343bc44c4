"""The types that cross the borders between data, towers, objectives and steps.

Letters: B rows on this rank, D embedding width, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from mmcontrast.errors import NeedsError

Values = Any  # a Tensor with B rows, or a dict of such tensors


def map_values(values: Values, function: Callable[[Tensor], Tensor]) -> Values:
    """Apply ``function`` to a tensor, or to each tensor of a dict."""
    if isinstance(values, dict):
        return {name: function(tensor) for name, tensor in values.items()}
    return function(values)


@dataclass(frozen=True)
class Column:
    """One input of every row.  Only present cells are stored: a batch that is 30% audio carries 30% of the sound.

    ``values`` has one row for each True of ``present``, in order; with none it still has the shape of a cell, so that
    every rank can run the column's tower.
    """

    modality: str
    values: Values  # Tensor (P, ...) or dict of them; P is the number of present rows
    present: Bool[Tensor, " B"]
    encoded: bool = False  # values are the pooled features of a frozen tower, (P, width)

    @staticmethod
    def of(modality: str, values: Values, present: Bool[Tensor, " B"]) -> Column:
        """Make a column of values that have a cell for every row, dropping those that are absent."""
        return Column(modality, map_values(values, lambda tensor: tensor[present]), present)

    def rows(self, index: slice) -> Column:
        """Return a run of rows."""
        start, stop, _ = index.indices(len(self.present))
        first = int(self.present[:start].sum())
        last = first + int(self.present[start:stop].sum())
        values = map_values(self.values, lambda tensor: tensor[first:last])
        return replace(self, values=values, present=self.present[index])

    @staticmethod
    def join(parts: list[Column]) -> Column:
        """Concatenate runs of rows of one column."""
        values: Values = [part.values for part in parts]
        if isinstance(values[0], dict):
            values = {name: torch.cat([value[name] for value in values]) for name in values[0]}
        else:
            values = torch.cat(values)
        return replace(parts[0], values=values, present=torch.cat([part.present for part in parts]))

    def at(self, index: Int[Tensor, " N"]) -> Column:
        """Return the rows of these numbers, in this order."""
        places = (self.present.cumsum(0) - 1)[index][self.present[index]]  # of their cells among the stored ones
        values = map_values(self.values, lambda tensor: tensor[places])
        return replace(self, values=values, present=self.present[index])

    def to(self, device: torch.device) -> Column:
        """Return the column on ``device``."""
        values = map_values(self.values, lambda tensor: tensor.to(device))
        return replace(self, values=values, present=self.present.to(device))


@dataclass(frozen=True)
class Batch:
    """A table: rows are samples, columns are inputs, a missing cell is ``present=False``."""

    columns: dict[str, Column]
    labels: dict[str, Tensor] = field(default_factory=dict)  # (B,) class ids, groups, relevance or weights
    keys: list[str] = field(default_factory=list)  # "source/shard/__key__" of every row, for error messages

    def __len__(self) -> int:
        return len(self.keys)

    def rows(self, index: slice) -> Batch:
        """Return a run of rows as a batch."""
        return Batch(
            {name: column.rows(index) for name, column in self.columns.items()},
            {name: label[index] for name, label in self.labels.items()},
            self.keys[index],
        )

    def at(self, index: Int[Tensor, " N"]) -> Batch:
        """Return the rows of these numbers, in this order, as a batch."""
        return Batch(
            {name: column.at(index) for name, column in self.columns.items()},
            {name: label[index] for name, label in self.labels.items()},
            [self.keys[row] for row in index.tolist()],
        )

    def chunks(self, rows: int) -> list[Batch]:
        """Split into consecutive batches of at most ``rows`` rows."""
        return [self.rows(slice(start, start + rows)) for start in range(0, len(self), rows)]

    def to(self, device: torch.device) -> Batch:
        """Return the batch on ``device``."""
        return Batch(
            {name: column.to(device) for name, column in self.columns.items()},
            {name: label.to(device) for name, label in self.labels.items()},
            self.keys,
        )


@dataclass(frozen=True)
class Features:
    """What a tower returns: one vector a row, and optionally its token sequence."""

    pooled: Float[Tensor, "B width"]
    tokens: Float[Tensor, "B T width"] | None = None
    token_mask: Bool[Tensor, "B T"] | None = None  # True where a token is real


@dataclass(frozen=True)
class Needs:
    """What an objective reads.  Everything else is refused by :class:`Embeddings`."""

    embeddings: tuple[str, ...]  # columns whose pooled embedding is read
    tokens: tuple[str, ...] = ()  # columns whose token sequence is read
    labels: tuple[str, ...] = ()  # entries of Batch.labels
    teacher: tuple[str, ...] = ()  # columns also embedded by a frozen teacher
    momentum: tuple[str, ...] = ()  # columns also embedded by the momentum copy
    inputs: tuple[str, ...] = ()  # columns whose raw cells are read: token ids to predict, pictures to rebuild

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read in any way, sorted."""
        return tuple(sorted({*self.embeddings, *self.tokens, *self.teacher, *self.momentum, *self.inputs}))

    def __or__(self, other: Needs) -> Needs:
        def union(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(sorted({*a, *b}))

        return Needs(
            embeddings=union(self.embeddings, other.embeddings),
            tokens=union(self.tokens, other.tokens),
            labels=union(self.labels, other.labels),
            teacher=union(self.teacher, other.teacher),
            momentum=union(self.momentum, other.momentum),
            inputs=union(self.inputs, other.inputs),
        )


@dataclass(frozen=True)
class Embedded:
    """One embedded column: rows that are absent hold zeros."""

    z: Float[Tensor, "B D"]
    present: Bool[Tensor, " B"]
    tokens: Tokens | None = None  # of columns whose tokens are read

    @staticmethod
    def join(parts: list[Embedded]) -> Embedded:
        """Concatenate the rows of several chunks."""
        tokens = [part.tokens for part in parts if part.tokens is not None]
        return Embedded(
            torch.cat([part.z for part in parts]),
            torch.cat([part.present for part in parts]),
            Tokens.join(tokens) if tokens else None,
        )

    def as_leaf(self) -> Embedded:
        """Return a copy whose embeddings and tokens begin a graph of their own."""
        tokens = self.tokens
        if tokens is not None:
            tokens = replace(tokens, values=tokens.values.detach().requires_grad_())
        return Embedded(self.z.detach().requires_grad_(), self.present, tokens)

    def grads(self, *, scale: float) -> Gradients:
        """Return what arrived at a leaf, with the loss scale divided out; zeros where nothing did."""

        def of(leaf: Tensor) -> Tensor:
            return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad / scale

        return Gradients(of(self.z), None if self.tokens is None else of(self.tokens.values))

    def dot(self, grads: Gradients) -> Tensor:
        """Return a number whose gradient with respect to embeddings and tokens is ``grads``."""
        whole = (self.z * grads.z).sum()
        if self.tokens is None or grads.tokens is None:
            return whole
        own = grads.tokens[:, : self.tokens.values.shape[1]]  # tokens of other chunks may be more
        return whole + (self.tokens.values * own).sum()


@dataclass(frozen=True)
class Gradients:
    """Gradients of a loss with respect to one embedded column."""

    z: Float[Tensor, "B D"]
    tokens: Float[Tensor, "B T width"] | None

    def rows(self, index: slice) -> Gradients:
        """Return a run of rows."""
        return Gradients(self.z[index], None if self.tokens is None else self.tokens[index])


@dataclass(frozen=True)
class Tokens:
    """A column's token sequence as its tower returns it; absent rows hold zeros and no real token."""

    values: Float[Tensor, "B T width"]
    real: Bool[Tensor, "B T"]  # False at padding and in absent rows

    @staticmethod
    def join(parts: list[Tokens]) -> Tokens:
        """Concatenate the rows of several chunks, each padded to the longest."""
        longest = max(part.real.shape[1] for part in parts)
        spare = [longest - part.real.shape[1] for part in parts]
        return Tokens(
            torch.cat([pad(part.values, (0, 0, 0, more)) for part, more in zip(parts, spare, strict=True)]),
            torch.cat([pad(part.real, (0, more)) for part, more in zip(parts, spare, strict=True)]),
        )


@dataclass(frozen=True)
class Embeddings(Mapping[str, Embedded]):
    """What an objective sees of a batch: ``emb["text"].z``, ``.present``, ``emb.label("group")`` and more."""

    columns: dict[str, Embedded]
    labels: dict[str, Tensor]
    row_keys: list[str]  # "source/shard/__key__" of every row
    needs: Needs | None = None  # set by the model per objective: reading anything undeclared raises
    taught: dict[str, Embedded] = field(default_factory=dict)  # by the teacher, without gradient
    averaged: dict[str, Embedded] = field(default_factory=dict)  # by the momentum copy, without gradient
    inputs: dict[str, Column] = field(default_factory=dict)  # raw cells

    def __getitem__(self, name: str) -> Embedded:
        self._declared(name, "embeddings")
        return self.columns[name]

    def _declared(self, name: str, kind: str) -> None:
        declared = (name,) if self.needs is None else getattr(self.needs, kind)
        if name not in declared:
            raise NeedsError(f"column '{name}' is read but not declared in needs().{kind} {declared}")

    def tokens(self, name: str) -> Tokens:
        """Return a column's tokens."""
        self._declared(name, "tokens")
        tokens = self.columns[name].tokens
        if tokens is None:
            raise NeedsError(f"the tower of column '{name}' returns no tokens. Use a tower that does.")
        return tokens

    def teacher(self, name: str) -> Embedded:
        """Return a column as the teacher embeds it, without gradient; its width is the teacher's."""
        self._declared(name, "teacher")
        return self.taught[name]

    def momentum(self, name: str) -> Embedded:
        """Return a column as the momentum copy embeds it, without gradient."""
        self._declared(name, "momentum")
        return self.averaged[name]

    def input(self, name: str) -> Column:
        """Return a column's raw cells."""
        self._declared(name, "inputs")
        return self.inputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def label(self, name: str) -> Tensor:
        """Return a label column, shape (B,).

        Raises:
            NeedsError: it is not declared, or the batch does not carry it.
        """
        if self.needs is not None and name not in self.needs.labels:
            raise NeedsError(f"label '{name}' is read but not declared in needs().labels {self.needs.labels}")
        if name not in self.labels:
            raise NeedsError(f"label '{name}' is not in the batch, which carries: {', '.join(self.labels) or 'none'}")
        return self.labels[name]

    def limited(self, needs: Needs) -> Embeddings:
        """Return a view that allows reading only what ``needs`` declares."""
        return replace(self, needs=needs)

    @staticmethod
    def join(parts: list[Embeddings]) -> Embeddings:
        """Concatenate the rows of several chunks of one batch."""

        def joined(kind: str) -> dict[str, Embedded]:
            tables = [getattr(part, kind) for part in parts]
            return {name: Embedded.join([table[name] for table in tables]) for name in tables[0]}

        labels = {name: torch.cat([part.labels[name] for part in parts]) for name in parts[0].labels}
        inputs = {name: Column.join([part.inputs[name] for part in parts]) for name in parts[0].inputs}
        return Embeddings(
            joined("columns"),
            labels,
            [key for part in parts for key in part.row_keys],
            taught=joined("taught"),
            averaged=joined("averaged"),
            inputs=inputs,
        )

    def detached(self) -> Embeddings:
        """Return a copy without graph, tokens and raw cells, for what moves state after the update."""
        columns = {name: Embedded(column.z.detach(), column.present) for name, column in self.columns.items()}
        return replace(self, columns=columns, inputs={})

    def as_leaves(self) -> Embeddings:
        """Return a copy whose embeddings and tokens are leaves of a new graph, so that they collect gradients."""
        return replace(self, columns={name: column.as_leaf() for name, column in self.columns.items()})

    def grads(self, rows: int, *, scale: float = 1.0) -> list[dict[str, Gradients]]:
        """Return the leaves' gradients, split into chunks of ``rows`` rows; zeros where nothing arrived.

        Args:
            scale: loss scale that they carry and that is divided out.
        """
        whole = {name: column.grads(scale=scale) for name, column in self.columns.items()}
        starts = range(0, len(self.row_keys), rows)
        return [{name: each.rows(slice(start, start + rows)) for name, each in whole.items()} for start in starts]

    def dot(self, grads: dict[str, Gradients]) -> Tensor:
        """Return the surrogate loss whose gradient with respect to each embedding is ``grads``."""
        return torch.stack([column.dot(grads[name]) for name, column in self.columns.items()]).sum()


@dataclass(frozen=True)
class RowLosses:
    """The loss of each row before the mean, without graph: for the log alone."""

    values: Float[Tensor, " B"]
    counted: Bool[Tensor, " B"]  # rows that the mean counts

    @staticmethod
    def total(parts: Sequence[tuple[float, RowLosses]]) -> RowLosses | None:
        """Sum of several losses of the same rows, each times its factor; None of none."""
        if not parts:
            return None
        values = [factor * part.values.masked_fill(~part.counted, 0.0) for factor, part in parts]
        counted = torch.stack([part.counted for _, part in parts]).any(dim=0)
        return RowLosses(torch.stack(values).sum(dim=0), counted)


@dataclass(frozen=True)
class Terms:
    """What an objective returns: its loss (a mean over the global batch) and what to log."""

    loss: Float[Tensor, ""]
    scalars: dict[str, Tensor] = field(default_factory=dict)
    rows: RowLosses | None = None  # where the loss is a mean over rows
