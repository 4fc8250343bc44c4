"""A training run of seconds: three tiny towers over two made-up sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmcontrast.config import parse
from mmcontrast.run import Run

MEL = {"sample_rate_hz": 8000, "fft_samples": 256, "window_samples": 256, "hop_samples": 128, "mels": 16,
       "high_hz": 4000.0}  # fmt: skip


def tree(sets: dict[str, str], out: Path, **fields: Any) -> dict[str, Any]:
    return {
        "out": str(out),
        "steps": 8,
        "model": {
            "dim": 8,
            "towers": {
                "image": {"type": "small_resnet", "size": 16, "widths": [8, 16], "blocks": [1, 1], "groups": 4},
                "audio": {"type": "small_audio_cnn", "seconds": 0.25, "widths": [8, 16], "groups": 4, "mel": MEL},
                "text": {"type": "text_transformer", "width": 16, "layers": 1, "heads": 2, "buckets": 64,
                         "dropout": 0.1},
            },
        },
        "data": {
            "batch_rows": 12,
            "workers": 0,
            "sources": {
                "pictures": {"manifest": sets["pictures"], "weight": 2, "group": "thing"},
                "sounds": {"manifest": sets["sounds"], "group": "thing"},
            },
        },
        "objectives": {"main": {"type": "infonce", "pairs": [["image", "text"], ["audio", "text"]], "group": "group"}},
        "optimizer": {"type": "adamw", "lr": 0.01},
        "log": {"every_steps": 2, "tensorboard": False},
        "threads": 1,
        **fields,
    }  # fmt: skip


def run_of(sets: dict[str, str], out: Path, **fields: Any) -> Run:
    return parse(Run, tree(sets, out, **fields))


def losses(folder: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows}
