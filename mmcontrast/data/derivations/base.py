"""What every derivation offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from mmcontrast.data.labels import Label
from mmcontrast.data.transforms.captions import Captions
from mmcontrast.specs import InputSpec

MakeGenerator = Callable[[], np.random.Generator]  # the derived cell's own generator, at its start


class View(Protocol):
    """A random view of the original cell: uint8 (3, S, S), float32 (samples,) or text."""

    def __call__(self, make_rng: MakeGenerator, **changes: Any) -> Any:
        """Draw one, with the source's transform, or with some of its fields changed."""


@dataclass(frozen=True)
class Original:
    """The column that another one is made of, in one row."""

    value: Any  # as it is shown this time
    view: View
    captions: Captions | None  # of a text column
    key: str = ""  # of the row, for messages
    other_view: View | None = None  # of a cell put together of several rows: the same in another order
    fields: Mapping[str, Any] = field(default_factory=dict)  # the JSON fields that the derivation reads
    elsewhere: Callable[[str, MakeGenerator], Any | None] | None = None  # a view of the column in the row of a key
    row_rng: Callable[..., np.random.Generator] | None = None  # of the row and further parts, the same for all columns


@dataclass(frozen=True)
class Told:
    """A derived cell, with what its derivation tells of it."""

    value: Any
    labels: dict[str, Any]


def told_apart(cell: Any, column: str, labels: dict[str, Any]) -> Any:
    """The cell alone; what is told of it joins ``labels``, under the column's name."""
    if not isinstance(cell, Told):
        return cell
    labels |= {f"{column}.{end}": label for end, label in cell.labels.items()}
    return cell.value


class Derivation:
    """One more column of a row, a function of (seed, source, epoch, row, column) and of the row."""

    modalities: ClassVar[tuple[str, ...]] = ("image", "audio", "text")  # of the columns that it can make
    # Made for all rows of a batch in one go, once their pictures and sounds are: half the time, for its code stays in
    # the caches.  The row counts as good by then, so such a derivation raises nothing, and has no labels.
    together: ClassVar[bool] = False

    class Config:
        """Fields of the derivation; each subclass has its own, with ``of``, a column of the same modality."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def check(self) -> None:
        """Find what it needs, before anything is loaded.

        Raises:
            ConfigError, MissingPackage: it is not there.
        """

    def check_spec(self, spec: InputSpec) -> None:
        """Find whether its cells fit what the tower asks for, before anything is loaded.

        Raises:
            ConfigError, MissingPackage: they do not.
        """

    def labels(self) -> dict[str, Label]:
        """What it tells of each cell, beside the cell: ends of the labels' names, which begin with the column's."""
        return {}

    def reads(self) -> tuple[str, ...]:
        """JSON fields of a row that it reads."""
        return ()

    def derive(self, original: Original, make_rng: MakeGenerator) -> Any | None:
        """The cell, as :class:`Told` if there are :meth:`labels` of it; None where this row has none."""
        raise NotImplementedError
