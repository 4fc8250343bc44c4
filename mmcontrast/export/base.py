"""What every format offers: say what it cannot hold, write a part, read it back through the target's own loader."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from mmcontrast.export.part import Part
from mmcontrast.exported.dtypes import Dtype
from mmcontrast.packages import check_installed

Reader = Callable[[Sequence[Any]], Tensor]  # items of one modality, in one batch -> free or unit vectors (N, D)


FOLDED: dict[Dtype, float] = {"fp16": 5e-4, "bf16": 4e-3}  # a step of the type's fraction, of numbers up to 1


@dataclass(frozen=True)
class Read:
    """An export as its target reads it.  Items are RGB pictures, mono waveforms at the tower's rate, and strings."""

    encode: Mapping[str, Reader]  # modality -> reader
    exact_for: Literal["any", "square", "own_size"] = (
        "any"  # pictures that the target's own preprocessing treats as ours
    )
    empty_captions: bool = True  # the target's tokenizer makes at least one token of nothing


class ExportFormat:
    """One target.  A subclass has a nested ``Config`` and is registered under its module's name."""

    dtypes: tuple[Dtype, ...] = ("fp32", "fp16", "bf16")
    tolerance: float = 1e-4  # largest difference of any coordinate of a unit vector, in fp32
    folds: bool = False  # whether heads are multiplied into projections, which are then rounded once more
    packages: tuple[str, ...] = ()  # that the target needs
    extra: str = "export"  # which installs them

    class Config:
        """Fields of the format; each subclass has its own."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def limit(self, dtype: Dtype) -> float:
        """Largest difference of a coordinate that passes, from the model with weights rounded to ``dtype``."""
        return max(self.tolerance, FOLDED[dtype]) if self.folds and dtype in FOLDED else self.tolerance

    def check_packages(self) -> None:
        """Refuse a format whose target is not installed.

        Raises:
            MissingPackage: names the extra to install.
        """
        check_installed(self.packages, who=format_name(self), extra=self.extra)

    def refusals(self, part: Part) -> dict[str, str]:
        """Why a tower cannot be held, by modality; empty when all can.  What none of them can is under ``part``."""
        return {}

    def write(self, part: Part, folder: Path, *, dtype: Dtype) -> None:
        """Write files into an existing folder.  ``part`` has weights already rounded to ``dtype``."""
        raise NotImplementedError

    def read(self, folder: Path, part: Part) -> Read:
        """Load what was written with the target's own loader; ``part`` says which modalities, no weights."""
        raise NotImplementedError

    def usage(self, part: Part) -> str:
        """A copy-paste example in Python for the card."""
        raise NotImplementedError


def format_name(export_format: ExportFormat) -> str:
    """As the command line writes it."""
    return command_name(export_format.config.registry_name)


def command_name(name: str) -> str:
    """``torch_export`` -> ``torch-export``."""
    return name.replace("_", "-")
