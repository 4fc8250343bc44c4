"""Checkpoints: written whole or not at all, off the training thread, verified by checksum before they are read."""

from mmcontrast.checkpoint.folder import (
    Clock,
    Saved,
    Snapshot,
    Weights,
    find,
    folder_name,
    load,
    load_model_state,
    newest,
    save,
    verify,
)

__all__ = [
    "Clock",
    "Saved",
    "Snapshot",
    "Weights",
    "find",
    "folder_name",
    "load",
    "load_model_state",
    "newest",
    "save",
    "verify",
]
