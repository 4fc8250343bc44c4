"""ONNX graphs for onnxruntime, with preprocessing inside."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmcontrast.config import config
from mmcontrast.export import EXPORTS
from mmcontrast.export.base import ExportFormat, Read
from mmcontrast.export.convolved_stft import without_complex_numbers
from mmcontrast.export.formats.torch_export import traced
from mmcontrast.export.graph import INPUTS
from mmcontrast.export.part import Part
from mmcontrast.export.raw_inputs import raw_reader
from mmcontrast.export.snippets import copy_tokenizer, ids_snippet
from mmcontrast.exported.dtypes import DTYPES, Dtype

OPSET = 20
OUTPUT = "embeddings"  # "embedding" is a name that converted graphs use inside


@EXPORTS.register("onnx")
class Onnx(ExportFormat):
    """One .onnx graph a tower, preprocessing inside; any batch, picture size, length of sound and of text."""

    dtypes = DTYPES
    tolerance = 2e-4
    packages = ("onnx", "onnxscript", "onnxruntime")

    @config
    class Config:
        """No fields."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)

    def write(self, part: Part, folder: Path, *, dtype: Dtype) -> None:
        """Convert each tower."""
        copy_tokenizer(part, folder)
        for modality in part.modalities:
            inner = without_complex_numbers(part.module(modality))
            write_graph(part, modality, folder / f"{modality}.onnx", dtype=dtype, inner=inner)

    def read(self, folder: Path, part: Part) -> Read:
        """Through onnxruntime, on the CPU."""
        return Read(
            {
                modality: raw_reader(part, modality, session(folder / f"{modality}.onnx"))
                for modality in part.modalities
            }
        )

    def usage(self, part: Part) -> str:
        """onnxruntime and numpy."""
        lines = ["import numpy as np", "import onnxruntime"]
        for modality in part.modalities:
            lines += ["", f'{modality} = onnxruntime.InferenceSession("{modality}.onnx")']
            if modality == "text":
                lines += [*ids_snippet(part), 'z = text.run(None, {"ids": np.array([ids], np.int64)})[0]']
            else:
                lines.append(_CALLS[modality])
        return "\n".join(lines)


_CALLS = {
    "image": 'z = image.run(None, {"pixels": pixels})[0]  # uint8 (B, 3, H, W), any size',
    "audio": 'z = audio.run(None, {"wave": wave})[0]  # float32 (B, samples) at the tower\'s rate, any length',
}


def write_graph(part: Part, modality: str, file: Path, *, dtype: Dtype, inner: nn.Module) -> None:
    """Convert one tower."""
    program = traced(part, modality, dtype, inner)
    logger = logging.getLogger("onnxscript")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                program,
                f=str(file),
                input_names=[INPUTS[modality]],
                output_names=[OUTPUT],
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
    finally:
        logger.setLevel(level)


def session(file: Path, *, threads: int | None = None) -> Callable[[Tensor], Tensor]:
    """A function over an onnxruntime session."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    opened = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = opened.get_inputs()[0].name
    return lambda values: torch.from_numpy(opened.run(None, {name: values.numpy()})[0])
