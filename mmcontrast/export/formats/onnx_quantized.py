"""ONNX graphs whose matrix products are done in 8-bit integers."""

from __future__ import annotations

import logging
from pathlib import Path

from mmcontrast.config import config
from mmcontrast.export import EXPORTS
from mmcontrast.export.formats.onnx import Onnx, for_onnxruntime, write_graph
from mmcontrast.export.part import Part
from mmcontrast.exported.dtypes import Dtype

PRODUCTS = ["MatMul", "Gemm"]  # convolutions stay in floats: onnxruntime's integer ones are slow


@EXPORTS.register("onnx_quantized")
class OnnxQuantized(Onnx):
    """As onnx, with products by weights in int8: quick on CPUs with VNNI, at a loss that is printed; --dtype int8.

    Weights are signed with one scale a column, activations unsigned with a scale found for each batch: the pair that
    VNNI multiplies.  A batch's scale is shared by its rows, so a row's embedding moves a little with its company.
    """

    dtypes: tuple[Dtype, ...] = ("int8",)
    tolerance = 3e-2  # of a coordinate of a unit vector: activations are rounded too

    @config
    class Config:
        """No fields."""

    def write_tower(self, part: Part, modality: str, file: Path, *, dtype: Dtype) -> None:
        """Convert one tower, and its products by weights."""
        write_quantized(part, modality, file)


def write_quantized(part: Part, modality: str, file: Path) -> None:
    """Convert one tower of float weights; the quantizer rounds them."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    floats = file.with_suffix(".floats.onnx")
    write_graph(part, modality, floats, dtype="fp32", inner=for_onnxruntime(part.module(modality)))
    logger = logging.getLogger()  # the quantizer's own; it advises a step that changes nothing here
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        quantize_dynamic(floats, file, op_types_to_quantize=PRODUCTS, per_channel=True, weight_type=QuantType.QInt8)
    finally:
        logger.setLevel(level)
        floats.unlink()
