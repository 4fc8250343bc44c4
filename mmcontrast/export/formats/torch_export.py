"""Graphs of torch.export: loaded by torch alone, with preprocessing inside."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from mmcontrast.config import config
from mmcontrast.export import EXPORTS
from mmcontrast.export.graph import INPUTS, Stored, dynamic_shapes, graph, raw_example
from mmcontrast.export.graph_format import GraphFormat
from mmcontrast.export.part import Part
from mmcontrast.export.snippets import ids_snippet
from mmcontrast.exported.dtypes import Dtype


@EXPORTS.register("torch_export")
class TorchExport(GraphFormat):
    """One .pt2 graph a tower, preprocessing inside; any batch, picture size, length of sound and of text."""

    suffix = ".pt2"
    tolerance = 1e-4

    @config
    class Config:
        """No fields."""

    def write_tower(self, part: Part, modality: str, file: Path, *, dtype: Dtype) -> None:
        """Trace and save one tower."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of weights that are views of others
            torch.export.save(traced(part, modality, dtype), file)

    def opened(self, file: Path) -> Callable[[Tensor], Tensor]:
        """Through ``torch.export.load``."""
        return torch.export.load(file).module()

    def usage(self, part: Part) -> str:
        """torch alone; ids come from the tokenizer."""
        lines = ["import torch"]
        for modality in part.modalities:
            lines += ["", f'{modality} = torch.export.load("{modality}.pt2").module()', *_CALLS[modality]]
            if modality == "text":
                lines += ["", *ids_snippet(part)]
        return "\n".join(lines)


_CALLS = {
    "image": ["image(pixels)  # uint8 (B, 3, H, W), any size"],
    "audio": ["audio(wave)  # float32 (B, samples) at the tower's rate, any length"],
    "text": ["text(ids)  # int64 (B, T), padded with 0"],
}


def traced(part: Part, modality: str, dtype: Dtype, inner: nn.Module | None = None) -> torch.export.ExportedProgram:
    """One tower as a graph with free axes."""
    inner = inner or part.module(modality)
    if dtype != "fp32":
        inner = Stored(inner, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(
            graph(part, modality, inner),
            (raw_example(part, modality),),
            dynamic_shapes={INPUTS[modality]: dynamic_shapes(part, modality)},
            strict=False,
        )
