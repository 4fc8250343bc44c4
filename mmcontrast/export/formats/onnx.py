"""ONNX graphs for onnxruntime, with preprocessing inside."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from mmcontrast.config import config
from mmcontrast.export import EXPORTS
from mmcontrast.export.convolved_stft import without_complex_numbers
from mmcontrast.export.formats.torch_export import traced
from mmcontrast.export.graph import INPUTS
from mmcontrast.export.graph_format import GraphFormat
from mmcontrast.export.part import Part
from mmcontrast.export.plain_products import with_plain_products
from mmcontrast.export.snippets import ids_snippet
from mmcontrast.exported.dtypes import Dtype

OPSET = 20
OUTPUT = "embeddings"  # "embedding" is a name that converted graphs use inside


@EXPORTS.register("onnx")
class Onnx(GraphFormat):
    """One .onnx graph a tower, preprocessing inside; any batch, picture size, length of sound and of text."""

    suffix = ".onnx"
    tolerance = 2e-4
    packages = ("onnx", "onnxscript", "onnxruntime")

    @config
    class Config:
        """No fields."""

    def write_tower(self, part: Part, modality: str, file: Path, *, dtype: Dtype) -> None:
        """Convert one tower."""
        write_graph(part, modality, file, dtype=dtype, inner=for_onnxruntime(part.module(modality)))

    def opened(self, file: Path) -> Callable[[Tensor], Tensor]:
        """Through onnxruntime, on the CPU."""
        return session(file)

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


def for_onnxruntime(module: nn.Module) -> nn.Module:
    """A copy of a tower in operations that onnxruntime has and runs quickly."""
    return with_plain_products(without_complex_numbers(module))


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
