"""A question to an index, and the point that stands for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast.downstream.base import Composer, Head, Prior, Said
from mmcontrast.errors import SearchError
from mmcontrast.evaluate.encoder import load_encoder
from mmcontrast.evaluate.identity import towers_sha256
from mmcontrast.export.embedder import Embedder
from mmcontrast.geometry.base import Geometry
from mmcontrast.search.index import Index
from mmcontrast.search.memory import Memory
from mmcontrast.search.refiner import Refiner

MEDIA = ("image", "audio")


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is looked for.  Several items of one modality are averaged; modalities are composed."""

    text: tuple[str, ...] = ()
    image: tuple[Any, ...] = ()  # what Embedder.encode takes: paths, PIL pictures, arrays
    audio: tuple[Any, ...] = ()
    rows: tuple[tuple[str, str], ...] = ()  # (modality, key) of rows of the index
    text_weight: float = 1.0  # of the text beside pictures, sounds and rows, which have 1
    also: tuple[str, ...] = ()  # captions that must hold as well
    without: tuple[str, ...] = ()  # captions that must not hold
    hybrid: bool = False  # whether the texts are also looked for as words


def named_row(name: str) -> tuple[str, str]:
    """Split ``image:KEY``.

    Raises:
        SearchError: it names no modality.
    """
    modality, colon, key = name.partition(":")
    if not colon:
        raise SearchError(f"the row '{name}' comes without its modality; expected for example image:{name}.")
    return modality, key


class Asker:
    """Turns questions into points with the model that the index was made with, which is loaded when needed."""

    def __init__(
        self,
        index: Index,
        *,
        model: str | Path | None = None,
        device: str = "cpu",
        refined_by: tuple[Refiner, Memory] | None = None,
        heads: Sequence[Head] = (),
    ) -> None:
        for head in heads:
            head.check_towers(index.about.towers, *_used_by(head), where=str(index.folder))
        self._heads = {head.kind: head for head in heads}
        self.index, self._model, self._device = index, model or index.about.model, device
        self._refined_by = refined_by
        self._embedder: Embedder | None = None

    def embedder(self, modality: str) -> Embedder:
        """The model, if its tower of a modality is the index's.

        Raises:
            SearchError: it is another one.
            CheckpointError, RunFolderError: none is there.
        """
        if self._embedder is None:
            self._embedder = Embedder(load_encoder(Path(self._model), device=self._device))
            self._towers = towers_sha256(self._embedder.encoder.model)
        expected = self.index.about.towers
        if modality not in self._towers:
            raise SearchError(f"'{self._model}' has no {modality} tower; it has: {', '.join(self._towers)}.")
        if expected.get(modality) != self._towers[modality]:
            made = f"a model whose towers are {', '.join(expected)}"
            why = "has other weights" if modality in expected else f"was not in it: the index is of {made}"
            raise SearchError(
                f"the {modality} tower of '{self._model}' {why}; '{self.index.folder}' was made with "
                f"'{self.index.about.model}'. Name that model with --model, or embed and index again with this one."
            )
        return self._embedder

    def point(self, query: Query) -> Float[Tensor, " D"]:
        """The point of a question without its ``also`` and ``without``.

        Raises:
            SearchError: it asks for nothing, or its space gives sums of points no meaning.
        """
        parts: dict[str, list[Tensor]] = {}
        for modality in MEDIA:
            items: Sequence[Any] = getattr(query, modality)
            if items:
                given: dict[str, Any] = {modality: list(items)}
                parts.setdefault(modality, []).extend(self.embedder(modality).encode(**given))
        for modality, key in query.rows:
            parts.setdefault(modality, []).append(self._of_row(modality, key))
        references = [
            self._refined(modality, self.index.geometry.mean(torch.stack(points)))
            for modality, points in parts.items()
        ]
        if query.text:
            composer, prior = self._heads.get("composer"), self._heads.get("prior")
            if references and isinstance(composer, Composer):
                return self._by_composer(composer, self.index.geometry.mean(torch.stack(references)), query.text)
            texts = self._refined("text", self.index.geometry.mean(self.captions(query.text)))
            if not references and isinstance(prior, Prior):
                return prior.sampled(texts[None])[0]
            return composed(self.index.geometry, references, texts, text_weight=query.text_weight)
        if not references:
            raise SearchError("nothing is looked for: give a text, a picture, a sound or a row.")
        return composed(self.index.geometry, references, None, text_weight=0)

    def captions(self, texts: Sequence[str]) -> Float[Tensor, "K D"]:
        """A point for each caption."""
        points: Tensor = self.embedder("text").encode(text=list(texts))
        return points

    @torch.inference_mode()
    def _by_composer(self, composer: Composer, reference: Tensor, texts: Sequence[str]) -> Float[Tensor, " D"]:
        """The mean of what a head makes of the reference and each caption."""
        points = torch.stack([self._refined("text", point) for point in self.captions(texts)])
        said = Said(texts, points, self.embedder("text").encoder)
        return self.index.geometry.mean(composer.composed(reference.expand(len(texts), -1), said))

    def _refined(self, modality: str, point: Tensor) -> Tensor:
        """A point by what the memory says about it, if there is a refiner for its modality."""
        if self._refined_by is None or modality not in self._refined_by[0].about.pair:
            return point
        refiner, memory = self._refined_by
        return refiner.refined(memory, modality, point[None])[0]

    def _of_row(self, modality: str, key: str) -> Tensor:
        points = self.index.points(modality)
        (places,) = (points.rows == self.index.rows.number(key)).nonzero()
        if not len(places):
            raise SearchError(f"the row '{key}' has no {modality}.")
        return torch.from_numpy(points.values[int(places[0])].astype("float32"))


def _used_by(head: Head) -> tuple[str, ...]:
    """The modalities whose points a head is given or makes.

    Raises:
        SearchError: it answers no question.
    """
    if head.kind == "classifier":
        raise SearchError("a classifier head answers no search: name a composer (combiner, sprc) or a prior.")
    return (head.about.modality or "image", "text")


def composed(
    geometry: Geometry, references: Sequence[Tensor], text: Tensor | None, *, text_weight: float
) -> Float[Tensor, " D"]:
    """The references plus ``text_weight`` times the text, brought back into the space; one alone stays as it is.

    Source: the sum of Baldrati et al. 2022, CVPR workshops (CLIP4Cir), without its learned combiner.

    Raises:
        SearchError: sums of coordinates mean nothing in this space.
    """
    terms = [*references, *([] if text is None else [text_weight * text])]
    if len(terms) == 1:
        return references[0] if references else text  # type: ignore[return-value]
    if not geometry.dot_product:
        raise SearchError(
            f"several modalities are asked for at once: a {type(geometry).__name__} space gives their sum no meaning."
        )
    return geometry.project(torch.stack(terms).sum(dim=0)[None])[0]
