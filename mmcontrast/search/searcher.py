"""Questions in, rows out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from mmcontrast.downstream.base import Head
from mmcontrast.downstream.folder import read_head
from mmcontrast.errors import SearchError
from mmcontrast.export.embedded import texts_of
from mmcontrast.search.fusion import reciprocal_ranks
from mmcontrast.search.index import Index, open_index
from mmcontrast.search.memory import Memory
from mmcontrast.search.points import Points, best
from mmcontrast.search.query import MEDIA, Asker, Query
from mmcontrast.search.refiner import Refiner, read_refiner
from mmcontrast.search.rows import Row
from mmcontrast.search.sets import combined

POOL = 1000  # rows that each part of a question brings, where its parts are judged together

Measure = Literal["similarity", "deviations", "reciprocal ranks"]


@dataclass(frozen=True)
class Hit:
    """One answer."""

    rank: int  # from 1
    score: float
    row: Row
    number: int  # of the row in the index
    text: str  # the first thing that the row says, or nothing


@dataclass(frozen=True)
class Answers:
    """The best rows of one modality for a question."""

    modality: str
    measure: Measure  # what the scores are
    hits: list[Hit]
    searched: int  # points of the modality


class Searcher:
    """An index with the model that asks it."""

    def __init__(
        self,
        index: Index,
        *,
        model: str | Path | None = None,
        device: str = "cpu",
        refined_by: tuple[Refiner, Memory] | None = None,
        heads: Sequence[Head] = (),
    ) -> None:
        """Keep them; the model is loaded at the first question that needs it.

        Args:
            model: where it is; where it was when the rows were embedded if None.
            refined_by: what refines questions, and the pairs that it reads.
            heads: a composer, for a text beside pictures or sounds; a prior, for a text alone.

        Raises:
            HeadError: a head of other towers.
        """
        self.index = index
        self.asker = Asker(index, model=model, device=device, refined_by=refined_by, heads=heads)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        model: str | Path | None = None,
        device: str = "cpu",
        refiner: str | Path | None = None,
        memory: str | Path | None = None,
        heads: Sequence[str | Path] = (),
    ) -> Searcher:
        """Open an index.

        Args:
            refiner: a folder that ``mmcontrast refine`` has written.
            memory: index whose pairs the refiner reads; the index itself if None.
            heads: folders that ``mmcontrast head train`` has written, of a composer and of a prior.

        Raises:
            SearchError, HeadError: there is none, or it is damaged.
        """
        index, read = open_index(Path(folder)), [read_head(each) for each in heads]
        if refiner is None:
            if memory is not None:
                raise SearchError("a memory is read by a refiner: name one as well.")
            return cls(index, model=model, device=device, heads=read)
        found = read_refiner(Path(refiner))
        pairs = Memory(index if memory is None else open_index(Path(memory)), found.about.pair)
        return cls(index, model=model, device=device, refined_by=(found, pairs), heads=read)

    def default_modalities(self) -> tuple[str, ...]:
        """What is searched if nothing else is asked: pictures and sounds, or texts where there are none."""
        return tuple(name for name in MEDIA if name in self.index.modalities) or self.index.modalities

    def search(self, query: Query, *, modality: str, count: int = 10) -> Answers:
        """The best rows for a question.

        Raises:
            SearchError: the index or the model lacks what it asks for.
        """
        if count < 1:
            raise SearchError(f"{count} answers is no count.")
        points = self.index.points(modality)
        point = self.asker.point(query)
        measure: Measure = "similarity"
        if query.also or query.without:
            rows, scores = self._sets(points, point, query)
            measure = "deviations"
        else:
            found = points.nearest(point[None], count=POOL if query.hybrid else count)
            real = found.places[0] >= 0
            rows, scores = points.rows[found.places[0][real]], found.scores[0][real]
        if query.hybrid:
            rows, scores = reciprocal_ranks([rows, self._by_words(points, query)])
            measure = "reciprocal ranks"
        hits = [
            self._hit(rank, int(number), float(score))
            for rank, (number, score) in enumerate(zip(rows[:count], scores[:count], strict=True), start=1)
        ]
        return Answers(modality, measure, hits, len(points))

    def _sets(
        self, points: Points, point: Tensor, query: Query
    ) -> tuple[Int64[np.ndarray, " K"], Float[np.ndarray, " K"]]:
        """Rows near the question or near what must hold as well, judged by all its parts."""
        also = list(self.asker.captions(query.also)) if query.also else []
        without = list(self.asker.captions(query.without)) if query.without else []
        if self.index.about.kind == "exact":
            places = np.arange(len(points))
        else:
            near = [points.nearest(each[None], count=POOL).places[0] for each in (point, *also)]
            places = np.unique(np.concatenate(near))
            places = places[places >= 0]
        positive, negative = (
            [points.standard(each, points.scores(each, places)) for each in of] for of in ([point, *also], without)
        )
        places, scores = best(places, combined(positive, negative), POOL)
        return points.rows[places], scores

    def _by_words(self, points: Points, query: Query) -> Int64[np.ndarray, " K"]:
        """Rows of the modality that have the question's words, by BM25."""
        if not query.text:
            raise SearchError("a hybrid search reads the words of a text: give one.")
        scores = self.index.words.scores(" ".join([*query.text, *query.also]))[points.rows]
        rows, scores = best(points.rows, scores, POOL)
        return rows[scores > 0]

    def _hit(self, rank: int, number: int, score: float) -> Hit:
        row = self.index.rows[number]
        return Hit(rank, score, row, number, next(iter(texts_of(row.fields, self.index.about.text_field)), ""))
