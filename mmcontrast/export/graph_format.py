"""What formats have in common that hold one graph a tower, with preprocessing inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from mmcontrast.export.base import ExportFormat, Read
from mmcontrast.export.part import Part
from mmcontrast.export.raw_inputs import raw_reader
from mmcontrast.export.snippets import copy_tokenizer
from mmcontrast.exported.dtypes import DTYPES, Dtype


class GraphFormat(ExportFormat):
    """One file a tower, and the tokenizer's files; inputs are raw: pixels, waveforms, ids."""

    dtypes = DTYPES
    suffix: ClassVar[str]  # of a graph's file

    def write(self, part: Part, folder: Path, *, dtype: Dtype) -> None:
        """Write each tower's graph."""
        copy_tokenizer(part, folder)
        for modality in part.modalities:
            self.write_tower(part, modality, folder / f"{modality}{self.suffix}", dtype=dtype)

    def read(self, folder: Path, part: Part) -> Read:
        """Each graph through the target's own loader."""
        return Read(
            {
                modality: raw_reader(part, modality, self.opened(folder / f"{modality}{self.suffix}"))
                for modality in part.modalities
            }
        )

    def write_tower(self, part: Part, modality: str, file: Path, *, dtype: Dtype) -> None:
        """Write one tower's graph."""
        raise NotImplementedError

    def opened(self, file: Path) -> Callable[[Tensor], Tensor]:
        """A graph as a function of raw inputs."""
        raise NotImplementedError
