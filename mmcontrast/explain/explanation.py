"""An explanation of one picture or sound with one or two captions, from a checkpoint to numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from mmcontrast.data.collate import pad_ids, stacked_sounds
from mmcontrast.data.decode import decode_audio, decode_image
from mmcontrast.data.loader import encoders
from mmcontrast.data.transforms.clip import heard
from mmcontrast.data.transforms.image import eval_image
from mmcontrast.errors import MissingData, NeedsError
from mmcontrast.evaluate.checkpoints import open_checkpoint
from mmcontrast.evaluate.collection import read_media
from mmcontrast.evaluate.encoder import TowerEncoder
from mmcontrast.evaluate.window import ROUNDING_SECONDS
from mmcontrast.explain.attributions import Pair, Side, attributed, side
from mmcontrast.explain.words import by_word, different, spans, words_of
from mmcontrast.types import Values, map_values

GREY = 128  # of the reference picture
WORDS_KEPT = 64  # of a caption


@dataclass(frozen=True)
class Captioned:
    """What one caption's words give to the score, place by place."""

    text: str
    words: list[str]
    changed: list[bool]  # words that the other caption does not have there; all False with one caption
    pair: Pair
    maps: Float[Tensor, "words ..."]  # attribution of each word to each place of the grid
    rest: float  # of tokens that are no words (start, end), and of places outside of the grid

    def of_words(self) -> list[float]:
        """Attribution of each word, over all places."""
        return [float(each.sum()) for each in self.maps]

    def tree(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return {
            "text": self.text,
            "score": self.pair.score,
            "sum_of_attributions": self.pair.total,
            "references": self.pair.references,
            "integration_error": self.pair.error,
            "words": [
                {"word": word, "changed": mark, "attribution": value, "map": plane.tolist()}
                for word, mark, value, plane in zip(self.words, self.changed, self.of_words(), self.maps, strict=True)
            ],
            "rest": self.rest,
        }


@dataclass(frozen=True)
class Explanation:
    """One picture or sound, one or two captions."""

    model: str
    modality: str
    file: Path
    shown: Any  # PIL picture, or waveform
    sample_rate_hz: int | None
    grid: tuple[int, ...]  # rows and columns of places; a sound's map is bands by time
    captions: list[Captioned]
    steps: int

    def tree(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        tree: dict[str, Any] = {
            "schema": "mmcontrast.explain/1",
            "model": self.model,
            "modality": self.modality,
            "file": self.file.name,
            "grid": list(self.grid),
            "steps": self.steps,
            "method": "integrated Jacobians at the entrance of both towers' first blocks, arXiv:2408.14153",
            "captions": [each.tree() for each in self.captions],
        }
        if len(self.captions) == 2:
            tree["score_difference"] = self.captions[0].pair.score - self.captions[1].pair.score
        return tree


def explain(checkpoint: str, *, modality: str, file: Path, texts: list[str], steps: int, device: str) -> Explanation:
    """Attribute the similarity of a file with captions.

    Raises:
        CheckpointError, NeedsError: no model of ours, or one whose towers cannot be entered.
        MissingData, SkipSample: the file is not there, or damaged.
    """
    if not file.is_file():
        raise MissingData(f"no file '{file}'.")
    opened = open_checkpoint(checkpoint, device=device)
    encoder = opened.encoder
    if not isinstance(encoder, TowerEncoder):
        raise NeedsError(f"explain looks into towers, and '{checkpoint}' is no model of ours: import it first.")
    for name in (modality, "text"):
        encoder.spec(name)
    shown, values, reference = _read(encoder, modality, file)
    encode = encoders(encoder.specs)["text"]
    ids = [torch.stack(pad_ids([encode(text)])).to(encoder.device) for text in texts]
    tokens = [side(encoder.model, "text", each, torch.zeros_like(each), steps=steps) for each in ids]
    directions = torch.cat([each.shares for each in tokens], dim=1)
    media = side(encoder.model, modality, values, reference, directions=directions, steps=steps)
    grid, kept = _grid(media)
    marks = different(*texts) if len(texts) == 2 else ([False] * len(words_of(texts[0])),)
    captions, first = [], 0
    for text, mark, each in zip(texts, marks, tokens, strict=True):
        pair, places = attributed(media, each, first=first), spans(text, encode)[:WORDS_KEPT]
        maps = by_word(pair.values, places)[kept].T.reshape(len(places), *grid)
        rest = pair.total - float(maps.sum())
        captions.append(Captioned(text, words_of(text)[:WORDS_KEPT], mark[:WORDS_KEPT], pair, maps, rest))
        first += each.shares.shape[1]
    rate = encoder.sample_rate_hz if modality == "audio" else None
    return Explanation(opened.name, modality, file, shown, rate, grid, captions, steps)


def _read(encoder: TowerEncoder, modality: str, file: Path) -> tuple[Any, Values, Values]:
    """What is seen, the tower's input and its reference: grey, or silence."""
    content, spec = read_media(file, key=file.name), encoder.spec(modality)
    if modality == "image":
        picture = decode_image(content, key=file.name)
        pixels = torch.from_numpy(eval_image(picture, size=spec.size))[None].to(encoder.device)
        # Shown is what the tower sees: resized and cut.
        return Image.fromarray(pixels[0].permute(1, 2, 0).cpu().numpy()), pixels, torch.full_like(pixels, GREY)
    wave = decode_audio(content, key=file.name, sample_rate_hz=spec.sample_rate_hz)
    if spec.fusion is None and len(wave) > spec.samples + ROUNDING_SECONDS * spec.sample_rate_hz:
        seconds = len(wave) / spec.sample_rate_hz
        raise NeedsError(
            f"'{file}' lasts {seconds:.2f} s, the audio tower hears {spec.seconds:g} s: explain a part of it."
        )
    cells = heard(wave[: spec.samples] if spec.fusion is None else wave, spec)
    silent = heard(np.zeros(spec.samples, dtype=np.float32), spec)
    values, reference = (
        map_values(stacked_sounds(spec, each), lambda tensor: tensor.to(encoder.device)) for each in (cells, silent)
    )
    return wave[: spec.samples], values, reference


def _grid(media: Side) -> tuple[tuple[int, ...], slice]:
    """Rows and columns of places, and which of the side's places they are: class tokens stand before a square."""
    if len(media.grid) == 2:
        return media.grid, slice(None)
    places = media.grid[0]
    for lead in range(8):
        edge = round((places - lead) ** 0.5)
        if edge * edge == places - lead and edge > 1:
            return (edge, edge), slice(lead, None)
    return (1, places), slice(None)
