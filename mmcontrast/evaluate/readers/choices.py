"""What readers of choices share: contexts as rows, and items as queries over them.

A query is ``{"key", "category", "contexts", "texts", "right", "cluster"}``: keys of rows, strings, and for each
context the positions of the texts that belong to it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmcontrast.data.decode import decode_image
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.collection import Entry, Listed, read_media


class Asking:
    """Collects the contexts and items of one set."""

    def __init__(self, name: str, *, modality: str, licence: str = "") -> None:
        self._name, self._modality, self._licence = name, modality, licence
        self._entries: dict[str, Entry] = {}
        self._queries: list[dict[str, Any]] = []

    def file(self, key: str, place: Path) -> str:
        """Name a picture or sound that is a file; return its key."""
        if key not in self._entries:
            self._entries[key] = Entry(key, {"file": place.name}, {self._modality: place})
        return key

    def made(self, key: str, content: Callable[[], bytes], *, extension: str, info: dict[str, Any]) -> str:
        """Name a picture or sound whose bytes are made when they are read; return its key.

        Args:
            info: what it is made from; part of the set's digest.
        """
        if key not in self._entries:
            self._entries[key] = Entry(key, info, {self._modality: content}, {self._modality: extension})
        return key

    def text(self, text: str) -> str:
        """Name a text that others are compared with; return its key."""
        if text not in self._entries:
            self._entries[text] = Entry(text, {"text": text})
        return text

    def ask(
        self,
        key: str,
        *,
        category: str,
        contexts: list[str],
        texts: list[str],
        right: list[list[int]] | None = None,
        cluster: str = "",
        **fields: Any,
    ) -> None:
        """Add an item.

        Args:
            right: for each context, the positions of its texts; null: context k belongs to text k.
            cluster: items of equal cluster are not independent; empty: the first context says.
        """
        self._queries.append(
            {
                "key": key,
                "category": category,
                "contexts": contexts,
                "texts": texts,
                "right": [[place] for place in range(len(contexts))] if right is None else right,
                "cluster": cluster or contexts[0],
                **fields,
            }
        )

    def listed(self) -> Listed:
        """The set.

        Raises:
            MissingData: it has no items.
        """
        return Listed(self._name, list(self._entries.values()), queries=self._queries, licence=self._licence)


def cropped(place: Path, box: tuple[int, int, int, int], *, key: str) -> Callable[[], bytes]:
    """How to get a rectangle (left, top, width, height in pixels) of a picture, as a PNG file.

    What lies outside of the picture is black, as Pillow has it and therefore the published code.
    """

    def content() -> bytes:
        left, top, width, height = box
        stream = io.BytesIO()
        # A file that is not there is told by whoever reads the row: SkipSample, like a damaged one.
        picture = decode_image(read_media(place, key=key), key=key)
        picture.crop((left, top, left + width, top + height)).save(stream, "PNG", compress_level=1)
        return stream.getvalue()

    return content


def text_of(row: dict[str, Any], name: str, *, where: str) -> str:
    """A string of a row of JSON or of a table.

    Raises:
        ConfigError: it is not there, or no string.
    """
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{where}: expected a text '{name}', got {value!r}.")
    return value


def number_of(row: dict[str, Any], name: str, *, where: str) -> int:
    """A whole number of a row of JSON or of a table.

    Raises:
        ConfigError: it is not there, or no number.
    """
    try:
        return int(float(row[name]))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: expected a number '{name}', got {row.get(name)!r}.") from error


def box_of(row: dict[str, Any], names: tuple[str, str, str, str], *, where: str) -> tuple[int, int, int, int]:
    """A rectangle's left, top, width and height, under the names that a file gives them.

    Raises:
        ConfigError: one is not there, or no number.
    """
    left, top, width, height = (number_of(row, name, where=where) for name in names)
    return left, top, width, height


def media_folder(root: Path, *names: str) -> Path:
    """The first of several folders that is there; else the first, so that every row says what it misses."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])
