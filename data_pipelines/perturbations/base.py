"""A perturbation: a caption in, another one with nearly the same words and another meaning out."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

import numpy as np


class Perturbation:
    """Base of every perturbation."""

    Config: ClassVar[type]

    def __init__(self, config: Any) -> None:
        self.config = config

    def perturb(self, caption: str, rng: np.random.Generator) -> str | None:
        """The caption made wrong; None where this way has no hold on it.  Never the caption itself."""
        raise NotImplementedError


def caption_rng(*parts: object) -> np.random.Generator:
    """Random generator keyed by the parts: the same caption is perturbed the same way wherever it stands."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode("utf-8"), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "big")))
