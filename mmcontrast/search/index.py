"""An index, opened."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np

from mmcontrast.errors import SearchError
from mmcontrast.packages import check_installed
from mmcontrast.search.folder import PACKAGES, ROWS, WORDS, IndexAbout, geometry_of, read_about
from mmcontrast.search.nearest import Kind, Nearest
from mmcontrast.search.points import Points
from mmcontrast.search.rows import Rows
from mmcontrast.search.words import Words


class Index:
    """Rows, the points of each modality, and the words of the rows' texts; read where they are used."""

    def __init__(self, folder: Path, about: IndexAbout) -> None:
        self.folder, self.about = folder, about
        self.geometry = geometry_of(about.geometry, about.geometry_state, where=str(folder))
        self._points: dict[str, Points] = {}

    @property
    def modalities(self) -> tuple[str, ...]:
        """What can be searched."""
        return tuple(self.about.modalities)

    @cached_property
    def rows(self) -> Rows:
        """Every row by its number."""
        return Rows(self.folder / ROWS)

    @cached_property
    def words(self) -> Words:
        """BM25 over the rows' texts.

        Raises:
            SearchError: the rows have none.
        """
        if not self.about.has_words:
            raise SearchError(f"the rows of '{self.folder}' have no texts, which a hybrid search reads.")
        return Words.read(self.folder / WORDS)

    def points(self, modality: str) -> Points:
        """The points of a modality.

        Raises:
            SearchError: the index has none.
        """
        if modality not in self.about.modalities:
            raise SearchError(f"'{self.folder}' has no {modality} to search; it has: {', '.join(self.modalities)}.")
        if modality not in self._points:
            self._points[modality] = Points(
                self.geometry,
                np.load(self.folder / f"{modality}.npy", mmap_mode="r"),
                np.load(self.folder / f"{modality}.rows.npy"),
                Nearest.read(self.folder / f"{modality}.faiss", cast(Kind, self.about.kind)),
                width=self.about.modalities[modality].width,
            )
        return self._points[modality]


def open_index(folder: Path) -> Index:
    """Open an index whose files are all what they were.

    Raises:
        MissingPackage: faiss, bm25s or pyarrow is not installed.
        SearchError: there is none, or it is damaged.
    """
    check_installed(PACKAGES, who="search", extra="search")
    return Index(folder, read_about(folder))
