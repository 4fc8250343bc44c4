"""mmcontrast: pretrain CLIP, CLAP and tri-modal models, and measure them."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> module.  Loaded on first use, so that importing mmcontrast costs no torch.
_PUBLIC = {
    "Batch": "mmcontrast.types",
    "Column": "mmcontrast.types",
    "Embeddings": "mmcontrast.types",
    "Needs": "mmcontrast.types",
    "Terms": "mmcontrast.types",
    "Model": "mmcontrast.model",
    "Run": "mmcontrast.run",
    "load_run": "mmcontrast.run",
    "load": "mmcontrast.export.embedder",
    "Embedder": "mmcontrast.export.embedder",
    "load_head": "mmcontrast.downstream.applied",
    "train": "mmcontrast.train",
    "Loader": "mmcontrast.data.loader",
    "ShardSet": "mmcontrast.data.shards",
    "TowerEncoder": "mmcontrast.evaluate.encoder",
    "load_encoder": "mmcontrast.evaluate.encoder",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mmcontrast' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
