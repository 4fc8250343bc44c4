"""Hard negatives as further text columns: captions made wrong, and captions of rows that a model confuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np

from data_pipelines.embedding_job import EmbeddingJob
from data_pipelines.encoder import EncoderConfig
from data_pipelines.job import JOBS, Step
from data_pipelines.near import top_neighbours
from data_pipelines.perturbations import PERTURBATIONS
from data_pipelines.perturbations.base import Perturbation, caption_rng
from data_pipelines.rows import Dropped, Row, captions, text_column
from data_pipelines.shard_job import ShardJobConfig
from mmcontrast.config import Count, NonNegative, OneOf, config
from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.errors import ConfigError, ShardError, SkipSample


@config
class MineConfig:
    """Negatives by a model's embeddings."""

    model: EncoderConfig  # a trained run
    query: str = "image"  # column that looks for negatives
    key: str = "text"  # text column that they are taken from
    most: Count = 4  # negatives a row
    depth: Count = 64  # nearest keys looked at
    margin: NonNegative = 0.05  # a negative's cosine stays this far under the row's own pair: nearer ones may be right
    group: str | None = None  # JSON field: rows of equal value are never each other's negatives


@JOBS.register("negatives")
class Negatives(EmbeddingJob):
    """Add negatives to every row: ``text.NAME`` for each perturbation, ``text.mined`` from a model's neighbours.

    Mining is denoised: no row of the same group or with a caption of this row's, and none whose cosine comes within
    ``margin`` of the row's own pair.

    Source: de Souza Moreira et al. 2024, NV-Retriever, arXiv:2407.15831 (positive-aware mining, a margin to the
    positive); Yuksekgonul et al. 2023, NegCLIP, arXiv:2210.01936 (perturbed captions as a column).
    """

    @config
    class Config(ShardJobConfig):
        """What is added."""

        perturb: dict[str, Annotated[Any, OneOf(PERTURBATIONS)]] = {}  # NAME of column text.NAME -> way
        mine: MineConfig | None = None
        seed: int = 0
        missing: Literal["keep", "drop"] = "keep"  # rows that get no negative in some new column

    @property
    def model(self) -> EncoderConfig | None:
        """The mining model, if there is one."""
        return None if self.config.mine is None else self.config.mine.model

    def embedded_columns(self) -> tuple[str, ...]:
        """Query and key."""
        return (self.config.mine.query, self.config.mine.key)

    def inputs(self) -> dict[str, str]:
        """As ever.

        Raises:
            ConfigError: nothing to add, a column that exists, or no text to add to.
        """
        if not self.config.perturb and self.config.mine is None:
            raise ConfigError("negatives: give perturb, mine or both.")
        text_column(self.source.manifest, "text" if self.config.mine is None else self.config.mine.key)
        for name in self._new_names():
            if f"text.{name}" in self.source.manifest.columns:
                raise ConfigError(f"'{self.source.name}' has a column 'text.{name}' already: choose another name.")
        return super().inputs()

    def _new_names(self) -> list[str]:
        return [*self.config.perturb, *(["mined"] if self.config.mine is not None else [])]

    def columns(self) -> dict[str, ColumnSpec]:
        """The set's columns and the new ones."""
        added = {
            f"text.{name}": ColumnSpec(modality="text", extension="json", field=f"negatives_{name}")
            for name in self._new_names()
        }
        return super().columns() | added

    def prepare(self) -> list[Step]:
        """Embed every shard, if there is mining."""
        return [] if self.config.mine is None else [self.embed_step()]

    @cached_property
    def perturbations(self) -> dict[str, Perturbation]:
        """The perturbations, built."""
        return {name: PERTURBATIONS.build(each) for name, each in self.config.perturb.items()}

    def process(self, number: int, rows: Iterator[Row]) -> Iterator[Row | Dropped]:
        """Add what can be added; a row that nothing has a hold on stays as it is."""
        listed = list(rows)
        self._given.clear()
        mined = [] if self.config.mine is None else self._mine(number, len(listed))
        for place, row in enumerate(listed):
            try:
                texts = captions(row, text_column(self.source.manifest))
                added: dict[str, Any] = {
                    f"negatives_{name}": self._perturb(name, each, texts) for name, each in self.perturbations.items()
                }
                if mined:
                    added |= {"negatives_mined": mined[place].texts, "negatives_mined_keys": mined[place].keys}
                missing = [name for name, value in added.items() if not value]
                if missing and self.config.missing == "drop":
                    yield Dropped(row.key, row.shard, f"no {missing[0]}", texts[0] if texts else "")
                    continue
                added = {name: value for name, value in added.items() if value}
                self._given.update(added.keys())
                yield row.with_info(**added) if added else row
            except SkipSample as error:
                yield Dropped(row.key, row.shard, "captions do not read", str(error))

    @cached_property
    def _given(self) -> Counter[str]:
        """Rows of the present shard that each new column was given to."""
        return Counter()

    def noted(self) -> dict[str, int]:
        """Rows by new column."""
        return {f"rows with text.{name}": self._given[f"negatives_{name}"] for name in self._new_names()}

    def _perturb(self, name: str, each: Perturbation, texts: list[str]) -> list[str]:
        made = [each.perturb(text, caption_rng(self.config.seed, name, text)) for text in texts]
        return list(dict.fromkeys(text for text in made if text is not None and text not in texts))

    # --------------------------------------------------------------- mining

    @cached_property
    def _others(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """Key, group and captions of every row."""
        mine, spec = self.config.mine, text_column(self.source.manifest, self.config.mine.key)
        result = []
        for number in range(len(self.source)):
            for row in self.source.rows(number):
                try:
                    group = str(row.info().get(mine.group, row.key)) if mine.group else row.key
                    result.append((row.key, group, tuple(captions(row, spec))))
                except SkipSample as error:
                    raise ShardError(f"{row.shard}: {error}. Run filter first: it drops damaged rows.") from error
        return result

    def _mine(self, number: int, rows: int) -> list[Mined]:
        mine, start = self.config.mine, self.start_of(number)
        queries = self.embeddings[mine.query][start : start + rows]
        keys = self.embeddings[mine.key]
        known = np.flatnonzero(~np.isnan(keys).any(axis=1))
        scores, places = top_neighbours(np.nan_to_num(queries), keys[known], mine.depth)
        result = []
        for row in range(rows):
            own = float(queries[row] @ keys[start + row])
            candidates = [] if np.isnan(own) else list(zip(scores[row].tolist(), known[places[row]], strict=True))
            result.append(self._hardest(start + row, own, candidates))
        return result

    def _hardest(self, place: int, own: float, candidates: list[tuple[float, Any]]) -> Mined:
        _, group, texts = self._others[place]
        chosen_keys: list[str] = []
        chosen_texts: list[str] = []
        for score, other in candidates:
            key, other_group, other_texts = self._others[int(other)]
            if int(other) == place or other_group == group or score > own - self.config.mine.margin:
                continue
            if set(other_texts) & set(texts) or other_texts[0] in chosen_texts:
                continue
            chosen_keys.append(key)
            chosen_texts.append(other_texts[0])
            if len(chosen_keys) == self.config.mine.most:
                break
        return Mined(chosen_texts, chosen_keys)


@dataclass(frozen=True)
class Mined:
    """A row's mined negatives, hardest first."""

    texts: list[str]
    keys: list[str]
