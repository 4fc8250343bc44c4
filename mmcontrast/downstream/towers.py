"""The frozen model that heads are made for: its embeddings of rows and strings, and the digests of its towers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmcontrast.errors import ConfigError, HeadError, did_you_mean
from mmcontrast.evaluate.identity import towers_sha256
from mmcontrast.export.embed import Job, embed
from mmcontrast.export.embedded import ABOUT, read_about, read_parts
from mmcontrast.export.embedder import Embedder, load
from mmcontrast.export.plain_folder import open_source


@dataclass(frozen=True)
class EmbeddedRows:
    """Rows with their fields and, for some modalities, their points."""

    source: str
    keys: list[str]
    fields: list[dict[str, Any]]
    z: dict[str, Float[Tensor, "N D"]]
    present: dict[str, Bool[Tensor, " N"]]
    facts: dict[str, Any]  # name, rows, digest and licences of the source

    def __len__(self) -> int:
        return len(self.keys)

    def taken(self, numbers: Sequence[int]) -> EmbeddedRows:
        """Some of the rows."""
        index = torch.tensor(numbers, dtype=torch.long)
        return replace(
            self,
            keys=[self.keys[number] for number in numbers],
            fields=[self.fields[number] for number in numbers],
            z={name: z[index] for name, z in self.z.items()},
            present={name: here[index] for name, here in self.present.items()},
        )

    def where(self, conditions: dict[str, str]) -> EmbeddedRows:
        """The rows whose fields have these values.

        Raises:
            HeadError: there are none.
        """
        numbers = [
            number
            for number, fields in enumerate(self.fields)
            if all(str(fields.get(name)) == value for name, value in conditions.items())
        ]
        if not numbers:
            wanted = ", ".join(f"{name} = {value}" for name, value in conditions.items())
            raise HeadError(f"no row of '{self.source}' has {wanted or 'anything'}.")
        return self if len(numbers) == len(self) else self.taken(numbers)

    def having(self, *modalities: str) -> EmbeddedRows:
        """The rows that have all of these modalities.

        Raises:
            HeadError: there are none.
        """
        here = torch.stack([self.present[name] for name in modalities]).all(dim=0)
        if not here.any():
            raise HeadError(f"no row of '{self.source}' has {' and '.join(modalities)}.")
        return self.taken(here.nonzero()[:, 0].tolist())

    def field(self, name: str) -> list[str]:
        """One field of every row, as a string.

        Raises:
            HeadError: a row lacks it; suggests another one.
        """
        for key, fields in zip(self.keys, self.fields, strict=True):
            if fields.get(name) is None:
                known = ", ".join(fields)
                raise HeadError(
                    f"row '{key}' of '{self.source}' has no field '{name}'.{did_you_mean(name, fields)} "
                    f"It has: {known}."
                )
        return [str(fields[name]) for fields in self.fields]


class Towers:
    """A model's towers, frozen; loaded where they are needed."""

    def __init__(self, model: str | Path | None, *, device: str = "cpu", embedder: Embedder | None = None) -> None:
        """Keep where the model is.

        Args:
            model: a run folder, a checkpoint or an export; None: where a folder of embeddings says that it was.
            embedder: the model itself, if it is loaded already.
        """
        self._model, self._device, self._given = model, device, embedder

    @property
    def location(self) -> str:
        """Where the model is.

        Raises:
            HeadError: nothing says so.
        """
        if self._model is None:
            raise HeadError("no model is named: give --model, or embeddings that mmcontrast embed has written.")
        return str(self._model)

    @cached_property
    def embedder(self) -> Embedder:
        """The model.

        Raises:
            CheckpointError, RunFolderError: there is none.
            HeadError: its space gives sums of embeddings no meaning.
        """
        found = self._given or load(self.location, device=self._device)
        if not found.encoder.geometry.dot_product:
            raise HeadError(
                f"'{self.location}' has a {type(found.encoder.geometry).__name__} space; heads need one whose points "
                "are compared by dot products, such as 'sphere'."
            )
        return found

    @cached_property
    def digests(self) -> dict[str, str]:
        """Digest of each modality's way into the shared space."""
        return towers_sha256(self.embedder.encoder.model)

    def texts(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """Points of strings; equal ones are embedded once."""
        unique = list(dict.fromkeys(texts))
        place = {text: number for number, text in enumerate(unique)}
        z: Tensor = self.embedder.encode(text=unique)
        return z[torch.tensor([place[text] for text in texts], dtype=torch.long)]

    def rows(self, source: str, modalities: Sequence[str] = ()) -> EmbeddedRows:
        """Rows of a folder of embeddings, or of anything that ``mmcontrast embed`` reads, embedded now.

        Args:
            modalities: of the media that are needed; none: the fields alone.

        Raises:
            HeadError: embeddings of another model.
            ConfigError, MissingData, ExportError: there is no such source, or it lacks a modality.
        """
        if (Path(source) / ABOUT).is_file():
            return self._read(Path(source), source, modalities)
        if not modalities:
            return _fields_alone(source)
        with tempfile.TemporaryDirectory() as folder:
            embed(Job(source=source, model=self.location, out=Path(folder), modalities=tuple(modalities)))
            return self._read(Path(folder), source, modalities)

    def _read(self, folder: Path, source: str, modalities: Sequence[str]) -> EmbeddedRows:
        about, parts = read_about(folder), list(read_parts(folder))
        if self._model is None and self._given is None:
            self._model = about["model"]
        for name in modalities:
            if name not in about["modalities"]:
                raise ConfigError(f"'{source}' has no {name}; it has: {', '.join(about['modalities'])}.")
            if about["towers"].get(name) != self.digests.get(name):
                raise HeadError(
                    f"'{source}' was embedded by '{about['model']}', whose {name} tower is not that of "
                    f"'{self.location}'. Embed again with this model, or name that one."
                )
        return EmbeddedRows(
            source=source,
            keys=[key for part in parts for key in part.keys],
            fields=[json.loads(fields) for part in parts for fields in part.fields],
            z={name: torch.cat([part.points[name] for part in parts]) for name in modalities},
            present={name: torch.cat([part.present[name] for part in parts]) for name in modalities},
            facts=about["source"],
        )


def _fields_alone(source: str) -> EmbeddedRows:
    collection = open_source(source)
    return EmbeddedRows(
        source=source,
        keys=[collection.key(position) for position in range(len(collection))],
        fields=[collection.info(position) for position in range(len(collection))],
        z={},
        present={},
        facts=collection.facts(),
    )
