"""What happens between a file and a tower, as parameters that other programs can follow."""

from __future__ import annotations

from typing import Any

from mmcontrast.config import to_tree
from mmcontrast.export.part import Part
from mmcontrast.specs import AudioSpec, ImageSpec

HASHED_WORDS = {
    "normalise": "lower case",
    "split": r"\w+|[^\w\s]",
    "stems": "after a word of more than stem_letters letters, its first stem_letters and a dash, unless these are 0",
    "id": "crc32 of the UTF-8 bytes, modulo 2147483647, plus 1",
    "of_no_words": "the id of the empty string",
}


def described(part: Part, modality: str) -> dict[str, Any]:
    """Parameters of decoding, resizing, windowing and tokenizing, and of what the tower does first itself."""
    spec = part.spec(modality)
    tower = part.tower(modality).preprocessing()
    if isinstance(spec, ImageSpec):
        return {
            "mode": "RGB, transparency over white",
            "crop": "centre square",
            "resize": [spec.size, spec.size],
            "interpolation": "bicubic, antialiased (Pillow)",
            "dtype": "uint8",
            "in_the_tower": tower,
        }
    if isinstance(spec, AudioSpec):
        return {
            "channels": "mean of all",
            "sample_rate_hz": spec.sample_rate_hz,
            "resampler": "soxr HQ",
            "samples": spec.samples,
            **spec.length.in_words(),
            **({} if spec.fusion is None else {"longer": "four spectrograms", "fusion": to_tree(spec.fusion)}),
            "dtype": "float32 in [-1, 1]",
            "in_the_tower": tower,
        }
    found = {"tokenizer": to_tree(spec.tokenizer), "context_length": spec.context_length, "padding_id": 0}
    if spec.tokenizer.registry_name == "hashed_words":
        found["hashed_words"] = HASHED_WORDS
    return {**found, "in_the_tower": tower}
