"""What a number was made with besides weights and data: preprocessing, protocol and machine, each with a digest."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from mmcontrast import comm
from mmcontrast.config import to_tree
from mmcontrast.evaluate.identity import code_sha256
from mmcontrast.specs import InputSpec


def digest_of(tree: Any) -> str:
    """SHA-256 of plain values, in the order of their keys."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, default=str).encode()).hexdigest()


def with_digest(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The same values and their digest, under ``sha256``."""
    return {**tree, "sha256": digest_of(tree)}


def preprocessing_of(specs: Mapping[str, InputSpec]) -> dict[str, Any]:
    """What our towers read of a picture, a sound and a text: sizes, rates, windows, tokenizers."""
    return {
        modality: {each.name: to_tree(getattr(spec, each.name)) for each in fields(spec)}
        for modality, spec in sorted(specs.items())
    }


def environment(encoder: Any) -> dict[str, Any]:
    """Machine, device, threads, ranks and the digest of our own code.

    Args:
        encoder: its attribute ``device`` is named; one without is on the CPU, or was never here.
    """
    device = torch.device(getattr(encoder, "device", "cpu"))
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "ranks": comm.world_size(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "code_sha256": code_sha256(),
    }


def _processor() -> str:
    """The processor's name; Linux says it in a file and not to Python."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
