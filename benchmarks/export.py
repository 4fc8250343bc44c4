"""Encoder throughput of exported graphs beside the bare torch tower with its head, on the same inputs.

The graphs prepare their inputs too: pictures come in the tower's own size, sounds as long as its window.  Rates
are rows per second of processor time with one thread, both sides in turns: other work on the machine changes them less
than it changes seconds.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.row import Row
from benchmarks.turns import in_turns
from mmcontrast.export.formats.onnx import for_onnxruntime, session, write_graph
from mmcontrast.export.formats.onnx_quantized import write_quantized
from mmcontrast.export.formats.torch_export import traced
from mmcontrast.export.part import Part, example
from mmcontrast.exported.dtypes import Dtype
from mmcontrast.model import Model, ModelConfig
from mmcontrast.towers import TOWERS

ROWS = 16
TURNS = 7
GRAPHS: tuple[tuple[str, Dtype], ...] = (("torch-export", "fp32"), ("onnx", "fp32"), ("onnx", "int8"),
                                              ("onnx-quantized", "int8"))  # fmt: skip
TOWER_FIELDS: dict[str, dict[str, Any]] = {
    "small_resnet": {},
    "small_audio_cnn": {"groups": 4},
    "text_transformer": {},
    "open_clip_image": {"name": "ViT-S-32-alt"},
    "open_clip_text": {"name": "ViT-S-32-alt"},
}


def measure() -> list[Row]:
    """Time every format of every tower."""
    torch.set_num_threads(1)
    rows = []
    for name, fields in TOWER_FIELDS.items():
        part, modality = untrained(name, fields)
        inputs = example(part.spec(modality), rows=ROWS)
        bare = part.module(modality)
        with tempfile.TemporaryDirectory() as scratch:
            for kind, dtype in GRAPHS:
                graph = opened(part.stored_as(dtype), modality, kind, dtype, Path(scratch))
                ours, peer = rates(graph, bare, inputs)
                rows.append(
                    Row(
                        name=f"{name}, {kind} {dtype}",
                        ours=ours,
                        peer=peer,
                        ratio=ours / peer,
                        unit="rows/s of processor time",
                        setting=f"batch {ROWS}, one thread, peer: the torch tower in fp32",
                    )
                )
    return rows


def untrained(name: str, fields: dict[str, Any]) -> tuple[Part, str]:
    """A model of one tower with random weights, and its modality."""
    config = TOWERS.get(name).Config(**fields)
    torch.manual_seed(0)
    model = Model(ModelConfig(dim=256, towers={config.modality: config}))
    return Part(model.eval().requires_grad_(False)), config.modality


def opened(part: Part, modality: str, kind: str, dtype: Dtype, scratch: Path) -> Callable[[Tensor], Tensor]:
    """A graph as a function, written and read back where that is how its target works."""
    if kind == "torch-export":
        return traced(part, modality, dtype).module()
    file = scratch / f"{kind}-{dtype}.onnx"
    if kind == "onnx-quantized":
        write_quantized(part, modality, file)
        return session(file, threads=1)
    write_graph(part, modality, file, dtype=dtype, inner=for_onnxruntime(part.module(modality)))
    return session(file, threads=1)


def rates(ours: Callable[[Tensor], Tensor], peer: Callable[[Tensor], Tensor], inputs: Tensor) -> tuple[float, float]:
    """Rows per second of processor time of each, the median of some turns."""
    with torch.inference_mode():
        times = in_turns(lambda: ours(inputs), lambda: peer(inputs), turns=TURNS, warm_up=2, clock=time.process_time)
    return ROWS / statistics.median(times[0]), ROWS / statistics.median(times[1])
