"""Embeddings kept between runs under the digest of everything that they depend on."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from torch import Tensor

from mmcontrast import comm


class EmbeddingCache:
    """One safetensors file for each set of inputs of one encoder.

    A key holds the weights' digest, the preprocessing, the precision, the batch's size, torch's version, and the
    content of every input in order.  Whatever changes, the key changes: nothing stale is ever found.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def key(self, identity: str, modality: str, digests: list[bytes]) -> str:
        """Digest of an encoder and its inputs."""
        digest = hashlib.sha256(f"{identity}\x1f{modality}\x1f{torch.__version__}".encode())
        for each in digests:
            digest.update(each)
        return digest.hexdigest()

    def find(self, key: str | None) -> Tensor | None:
        """Return embeddings (N, D), or None; every rank finds or misses together."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.folder / f"{key}.safetensors"
        found = None
        if key is not None and path.is_file():
            try:
                found = load_file(path).get("z")
            except (SafetensorError, OSError):  # cut off while it was written by an older process: computed again
                found = None
        return found if comm.all_true(found is not None) else None

    def keep(self, key: str | None, z: Tensor) -> None:
        """Write embeddings, whole or not at all; rank 0 alone."""
        from safetensors.torch import save_file

        if key is None or comm.rank() != 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".writing-{key}-{os.getpid()}"
        save_file({"z": z.contiguous()}, temporary)
        temporary.replace(self.folder / f"{key}.safetensors")
