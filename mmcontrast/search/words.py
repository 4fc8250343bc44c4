"""BM25 over the rows' own texts: finds the very words, where embeddings find the sense."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """The words of a text in small letters."""
    return WORD.findall(text.lower())


class Words:
    """Texts by row.

    Source: Robertson and Zaragoza 2009, The Probabilistic Relevance Framework; Lu 2024, arXiv:2407.03618 (bm25s).
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @classmethod
    def of(cls, texts: Iterable[str]) -> Words | None:
        """Index one text a row; None if no row has a word."""
        import bm25s

        tokens = [words_of(text) for text in texts]
        if not any(tokens):
            return None
        inner = bm25s.BM25()
        inner.index(tokens, show_progress=False)
        return cls(inner)

    def scores(self, text: str) -> Float32[np.ndarray, " N"]:
        """BM25 of every row; 0 where a row has none of the words."""
        known = [word for word in words_of(text) if word in self._inner.vocab_dict]
        if not known:
            return np.zeros(int(self._inner.scores["num_docs"]), np.float32)
        found: np.ndarray = self._inner.get_scores(known)
        return found

    def write(self, folder: Path) -> None:
        """Write arrays and a vocabulary."""
        self._inner.save(folder, show_progress=False)

    @classmethod
    def read(cls, folder: Path) -> Words:
        """Read what :meth:`write` has written; memory is mapped, not filled."""
        import bm25s

        return cls(bm25s.BM25.load(folder, mmap=True, show_progress=False, verbosity=0))
