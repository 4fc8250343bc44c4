"""Towers whose points are made up: texts and pictures of a few kinds, whose pictures lie beside their texts."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast.downstream.towers import EmbeddedRows, Towers
from mmcontrast.evaluate.encoder import TowerEncoder
from mmcontrast.model import Model, ModelConfig
from mmcontrast.towers.text_transformer import TextTransformer

DIM, KINDS = 16, 4
CENTRES = torch.randn(KINDS, DIM, generator=torch.Generator().manual_seed(7))
GAP = 1.5 * normalize(torch.randn(DIM, generator=torch.Generator().manual_seed(8)), dim=0)


def text_point(text: str) -> Tensor:
    """``kind 2, number 5`` lies near the centre of kind 2; other strings near none."""
    seed = sum(place * ord(letter) for place, letter in enumerate(text, start=1))
    drawn = torch.randn(DIM, generator=torch.Generator().manual_seed(seed))
    words = text.replace(",", "").split()
    kind = int(words[words.index("kind") + 1]) if "kind" in words else None
    return normalize((CENTRES[kind] if kind is not None else 0) + 0.25 * drawn, dim=0)


def encoder(text: Any = None) -> TowerEncoder:
    """A text tower with random weights."""
    config = text or TextTransformer.Config(width=16, layers=1, heads=2, buckets=64, context_length=16)
    torch.manual_seed(0)
    return TowerEncoder(Model(ModelConfig(dim=DIM, towers={"text": config})).requires_grad_(False))


class MadeUpTowers(Towers):
    """A source's name is its seed and its number of rows: ``3:40``."""

    def __init__(self, digests: dict[str, str] | None = None, text: Any = None) -> None:
        super().__init__("made up")
        self.__dict__["digests"] = digests or {"text": "t", "image": "i"}
        self.__dict__["embedder"] = SimpleNamespace(dim=DIM, encoder=encoder(text))

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Points of strings."""
        return torch.stack([text_point(text) for text in texts])

    def rows(self, source: str, modalities: Sequence[str] = ()) -> EmbeddedRows:
        """Rows whose picture lies where the text and the gap lead, with noise."""
        seed, count = (int(part) for part in source.split(":"))
        generator = torch.Generator().manual_seed(seed)
        fields: list[dict[str, Any]] = [
            {"caption": f"kind {number % KINDS}, number {number}", "kind": f"kind {number % KINDS}", "one": "same"}
            for number in range(count)
        ]
        texts = self.texts([each["caption"] for each in fields])
        z = normalize(texts + GAP + 0.1 * torch.randn(count, DIM, generator=generator), dim=1)
        keys = [f"row {number}" for number in range(count)]
        present = {name: torch.ones(count, dtype=torch.bool) for name in modalities}
        points = {name: texts if name == "text" else z for name in modalities}
        return EmbeddedRows(source, keys, fields, points, present, {"name": source})


class ReadTowers(MadeUpTowers):
    """The same rows, whose texts lie where the text tower reads them."""

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Points of strings."""
        return self.embedder.encoder.encode("text", list(texts))
