"""A head with the model that it belongs to: files, pictures, sounds and strings in, answers out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast.downstream.base import Classifier, Head
from mmcontrast.downstream.folder import read_head
from mmcontrast.downstream.towers import Towers
from mmcontrast.errors import HeadError
from mmcontrast.export.embedder import Embedder


class Applied:
    """Use a head: ``mmcontrast.load_head``."""

    def __init__(self, head: Head, towers: Towers) -> None:
        self.head, self.towers = head, towers

    @classmethod
    def open(cls, folder: str | Path, *, model: str | Path | Embedder | None = None, device: str = "cpu") -> Applied:
        """Open a head and its model.

        Args:
            model: an embedder of :func:`mmcontrast.load`, or where the model is; None: where it was in training.

        Raises:
            HeadError: the head is missing or damaged.
        """
        head = read_head(folder)
        if isinstance(model, Embedder):
            return cls(head, Towers(head.about.model, embedder=model))
        return cls(head, Towers(model or head.about.model, device=device))

    @torch.inference_mode()
    def scores(self, modality: str, items: Sequence[Any]) -> Float[Tensor, "N C"]:
        """Scores of every class for items that :meth:`Embedder.encode` takes.

        Raises:
            HeadError: no classifier; another model; a modality that the head was not made for.
        """
        if not isinstance(self.head, Classifier):
            raise HeadError(f"a {self.head.kind} knows no classes.")
        self.head.check_modality(modality)
        return self.head.scores(self._points(modality, items), modality)

    def classes(self, modality: str, items: Sequence[Any], *, count: int = 1) -> list[list[tuple[str, float]]]:
        """The likeliest classes of each item, with their shares of the softmax."""
        scores = self.scores(modality, items)
        found = scores.softmax(dim=1).topk(min(count, scores.shape[1]))
        names = self.head.about.classes
        return [
            [(names[place], share) for place, share in zip(row.tolist(), shares.tolist(), strict=True)]
            for row, shares in zip(found.indices, found.values, strict=True)
        ]

    def _points(self, modality: str, items: Sequence[Any]) -> Tensor:
        self.head.check_towers(self.towers.digests, modality, where=self.towers.location)
        given: dict[str, Any] = {modality: list(items)}
        points: Tensor = self.towers.embedder.encode(**given)
        return points


load_head = Applied.open
