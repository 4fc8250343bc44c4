"""Pictures that look the same: a perceptual hash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from data_pipelines.media import Look
from data_pipelines.near import equal_groups, hamming_pairs
from data_pipelines.signatures import SIGNATURES
from data_pipelines.signatures.base import Pair, Signature
from mmcontrast.config import config
from mmcontrast.errors import MissingPackage


@SIGNATURES.register("image_hash")
class ImageHash(Signature):
    """Pictures whose 64-bit perceptual hashes (imagehash's pHash: signs of an 8 x 8 cosine transform) are close.

    A picture whose hash has few bits set or few clear (one colour, say) says too little and is not compared.
    """

    @config
    class Config:
        """Distance."""

        distance: int = 3  # bits that may differ, of 64; the search is exact
        min_bits: int = 8  # hashes with fewer bits set, or fewer clear, are not compared

        def __post_init__(self) -> None:
            if not 0 <= self.distance <= 16:
                raise ValueError(f"distance {self.distance}: expected 0 to 16 of 64 bits")

    def reads(self) -> tuple[str, ...]:
        """The one column."""
        return ("image",)

    def sign(self, looks: Sequence[Look]) -> np.ndarray:
        """Hashes as uint64; 0 where there is none."""
        try:
            import imagehash
        except ImportError as error:
            raise MissingPackage(
                "signature 'image_hash' needs imagehash: pip install 'mmcontrast[pipelines]'."
            ) from error
        result = np.zeros(len(looks), dtype=np.uint64)
        for place, look in enumerate(looks):
            if look.has("image"):
                bits = imagehash.phash(look.image).hash.flatten()
                if self.config.min_bits <= bits.sum() <= 64 - self.config.min_bits:
                    result[place] = np.packbits(bits).view(">u8")[0]
        return result

    def pairs(self, signatures: Sequence[np.ndarray]) -> Iterator[Pair]:
        """Equal hashes, then near ones by one row of each."""
        hashes = np.concatenate(signatures)
        groups = list(equal_groups([int(value) or None for value in hashes]))
        for group in groups:
            for second in group[1:]:
                yield Pair(group[0], second, "0 bits of 64 differ")
        distinct = hashes[[group[0] for group in groups]] if groups else np.zeros(0, dtype=np.uint64)
        for one, other, bits in hamming_pairs(distinct, self.config.distance):
            for first in groups[one]:
                for second in groups[other]:
                    yield Pair(min(first, second), max(first, second), f"{bits} bits of 64 differ")
