"""Rows of a source and their embeddings, computed once for all evaluators of a suite, each rank its share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcontrast import comm
from mmcontrast.data.decode import decode_audio, decode_image
from mmcontrast.errors import ConfigError, EvaluationFailed, MetricError, SkipSample, did_you_mean
from mmcontrast.evaluate.base import Encoder, Shown
from mmcontrast.evaluate.blind import bag_of_words, words_of
from mmcontrast.evaluate.cache import EmbeddingCache
from mmcontrast.evaluate.collection import Collection, located, open_collection
from mmcontrast.evaluate.window import blank, refuse_longer

Make = Callable[[Encoder, list[Any]], Any]  # of decoded items: their embeddings (N, D), or their captions
MediaKey = tuple[str, tuple[tuple[str, str], ...], str]
BLOCK_ROWS = 128  # rows encoded together; the same on any number of ranks, so that numbers are the same too
AHEAD = 2  # blocks decoded while one is encoded


@dataclass(frozen=True)
class Item:
    """One row of a source that passed the filter."""

    position: int  # in the source
    key: str  # of the row, without set and shard
    info: dict[str, Any]  # its fields


class Rows:
    """The rows of a source that pass a filter and whose media decode; the others are named in ``missing``."""

    def __init__(self, source: str, where: dict[str, str], collection: Collection | None = None) -> None:
        """Read the rows' fields.

        Args:
            collection: what ``source`` names; null: it is opened.

        Raises:
            MissingData, ShardError: the source is missing or damaged.
            ConfigError: the filter names a field that no row has, or nothing passes it.
        """
        self.source = source
        self.collection: Collection = open_collection(source) if collection is None else collection
        self.items: list[Item] = []
        self.missing: list[str] = []
        seen: dict[str, set[str]] = {name: set() for name in where}
        fields: set[str] = set()
        for position in range(len(self.collection)):
            try:
                info = self.collection.info(position)
            except SkipSample as error:
                self.missing.append(str(error))
                continue
            fields.update(info)
            for name in where:
                seen[name].add(str(info.get(name)))
            if all(name in info and str(info[name]) == value for name, value in where.items()):
                self.items.append(Item(position, self.collection.key(position), info))
        if not self.items:
            raise ConfigError(_nothing_passes(source, where, seen, fields))

    def check_modality(self, modality: str) -> None:
        """Refuse a modality that the source has no files of.

        Raises:
            ConfigError: names those that it has.
        """
        if modality not in self.collection.modalities:
            known = ", ".join(self.collection.modalities) or "no media"
            raise ConfigError(f"'{self.source}' has no column '{modality}'; it has: {known}.")

    def decode(
        self, item: Item, modality: str, *, sample_rate_hz: int | None, max_seconds: float | None = None
    ) -> Any:
        """Decode one row's picture, or its sound up to ``max_seconds``.

        Raises:
            SkipSample: it is missing or damaged.
        """
        content = self.collection.content(item.position, modality)
        if modality == "image":
            return decode_image(content, key=item.key)
        assert sample_rate_hz is not None, "sounds are decoded at the encoder's rate"
        return decode_audio(content, key=item.key, sample_rate_hz=sample_rate_hz, max_seconds=max_seconds)

    def field(self, name: str) -> list[str]:
        """One field of every row, as strings.

        Raises:
            ConfigError: a row lacks it.
        """
        return [str(value) for value in self.values(name)]

    def values(self, name: str) -> list[Any]:
        """One field of every row, as it is.

        Raises:
            ConfigError: a row lacks it.
        """
        for item in self.items:
            if name not in item.info:
                raise ConfigError(
                    f"'{self.source}' row '{item.key}' has no field '{name}'.{did_you_mean(name, item.info)} "
                    f"It has: {', '.join(item.info)}."
                )
        return [item.info[name] for item in self.items]

    def keys(self) -> list[str]:
        """Every row's key."""
        return [item.key for item in self.items]

    def digests(self, modality: str) -> list[bytes]:
        """A digest of every row's file of one modality: equal files are equal pictures or sounds."""
        return [hashlib.sha256(self.collection.content(item.position, modality)).digest() for item in self.items]

    def shown(
        self, number: int, modality: str, *, caption: str, right: bool | None = None, score: float | None = None
    ) -> Shown:
        """Name a picture or sound for a gallery."""
        position = self.items[number].position
        return Shown(kind=modality, caption=caption, source=self.source, position=position, right=right, score=score)


def _nothing_passes(source: str, where: dict[str, str], seen: dict[str, set[str]], fields: set[str]) -> str:
    for name, value in where.items():
        if name not in fields:
            known = ", ".join(sorted(fields))
            return f"'{source}' has no field '{name}'.{did_you_mean(name, fields)} It has: {known}."
        if value not in seen[name]:
            values = sorted(seen[name])
            some = ", ".join(values[:10]) + (", ..." if len(values) > 10 else "")
            return f"no row of '{source}' has {name} = '{value}'.{did_you_mean(value, values)} Values: {some}."
    return f"no row of '{source}' passes the filter {where}."


@dataclass(frozen=True)
class _Block:
    """What one rank made of some rows."""

    made: dict[str, Any]  # encoder -> of the kept rows; empty when no row decodes
    kept: list[bool]
    missing: list[str]


class Bench:
    """Encoders and the embeddings they have computed, shared by the evaluators of one suite.

    On several ranks each encodes its share of the blocks, with the same number of forwards everywhere, and all end up
    with all embeddings; every number after that is computed alike on each rank.
    """

    def __init__(
        self,
        encoder: Encoder,
        untrained: Encoder | None = None,
        *,
        quiet: bool = True,
        data: Path | None = None,
        cache: EmbeddingCache | None = None,
        workers: int = 1,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep the encoders.

        Args:
            data: folder from which sources' relative paths are meant; null: from where the process runs.
            cache: where embeddings are kept between runs.
            workers: threads that decode ahead of the encoder.
            alive: called after each block.
        """
        self.encoders: dict[str, Encoder] = {"trained": encoder}
        if untrained is not None:
            self.encoders["untrained"] = untrained
        self.workers = workers
        self.opened: dict[str, Collection] = {}  # sources so far
        self._alive = alive
        self._quiet = quiet or comm.rank() != 0
        self._data, self._cache = data, cache
        self._media: dict[MediaKey, tuple[Rows, dict[str, Tensor]]] = {}
        self._texts: dict[tuple[str, str], Tensor] = {}  # (encoder, caption) -> (D,)

    def similarity(self, who: str) -> Callable[[Tensor, Tensor], Tensor]:
        """How one encoder's geometry compares points."""
        return self.encoders[who].geometry.similarity

    def located(self, source: str) -> str:
        """Write a source or a file from where the data are."""
        return located(source, self._data)

    def rows(self, source: str, where: dict[str, str]) -> Rows:
        """Return a source's rows, without decoding anything."""
        place = self.located(source)
        with comm.together(EvaluationFailed):
            rows = Rows(place, where)
        self.opened[place] = rows.collection
        return rows

    def media(self, source: str, where: dict[str, str], modality: str) -> tuple[Rows, dict[str, Tensor]]:
        """Return a source's rows and, for each encoder, their embeddings (N, D).

        Raises:
            ConfigError: the source has no such column, or no row decodes.
            MetricError: an embedding is not finite; names its row.
        """
        key = (source, tuple(sorted(where.items())), modality)
        if key not in self._media:
            rows = self.rows(source, where)
            rows.check_modality(modality)
            self._media[key] = (rows, self._embed_media(rows, modality))
        return self._media[key]

    def texts(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Embeddings of captions, for each encoder (N, D)."""
        result = {}
        for who, encoder in self.encoders.items():
            new = [text for text in dict.fromkeys(texts) if (who, text) not in self._texts]
            if new:
                z = self._cached(who, "text", [text.encode() for text in new], self._text_encoder(encoder, new))
                _refuse_bad(z, new, who=who)
                self._texts.update(zip(((who, text) for text in new), z, strict=True))
            result[who] = torch.stack([self._texts[who, text] for text in texts])
        return result

    def bags(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """The control ``bag_of_words``: the trained encoder's embeddings of captions with their words sorted."""
        return {"bag_of_words": self.texts([bag_of_words(caption) for caption in captions])["trained"]}

    def unordered(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """The control ``order_insensitive``: the mean of the trained encoder's embeddings of a caption's words."""
        words = [sorted(words_of(caption)) or [caption] for caption in captions]  # sorted: sums round alike, and tie
        vocabulary = sorted({word for each in words for word in each})
        place = {word: number for number, word in enumerate(vocabulary)}
        z, geometry = self.texts(vocabulary)["trained"], self.encoders["trained"].geometry
        return {"order_insensitive": torch.stack([geometry.mean(z[[place[word] for word in each]]) for each in words])}

    def check_window(self, rows: Rows) -> None:
        """Refuse sounds that the encoder would hear cut: what comes last would be judged unheard.

        Raises:
            WindowTooShort: names the first, its length and the encoder's window.
        """
        with comm.together(EvaluationFailed):
            refuse_longer(rows.collection, [item.position for item in rows.items], rows.source,
                          window_seconds=self.encoders["trained"].window_seconds)  # fmt: skip

    # ------------------------------------------------------------- embedding

    def _text_encoder(self, encoder: Encoder, texts: list[str]) -> Callable[[], Tensor]:
        def encode() -> Tensor:
            mine = []
            with comm.together(EvaluationFailed):
                for block in self._progress(list(_shares(len(texts))), f"{len(texts):,} texts"):
                    part = texts[block] if block is not None else [""]  # a forward all the same: ranks stay in step
                    z = encoder.encode("text", part)
                    if block is not None:
                        mine.append(z)
                    self._alive()
            return torch.cat(_in_turn(comm.gather_objects(mine)))

        return encode

    def _embed_media(self, rows: Rows, modality: str) -> dict[str, Tensor]:
        """Embed one modality of every row; rows that fail are named in ``missing`` and leave ``items``."""
        if self._cache is not None:
            found = {who: self._cache.find(self._cache_key(who, rows, modality)) for who in self.encoders}
            if all(each is not None for each in found.values()):
                return {who: each for who, each in found.items() if each is not None}
        whole = len(rows.items)
        parts = self.of_blocks(rows, modality, lambda encoder, items: encoder.encode(modality, items))
        z = {who: torch.cat(each) for who, each in parts.items()}
        for who, points in z.items():
            _refuse_bad(points, rows.keys(), who=who)
            # A set with damaged rows is read again, and they are named.
            if self._cache is not None and len(points) == whole:
                self._cache.keep(self._cache_key(who, rows, modality), points)
        return z

    def of_blocks(self, rows: Rows, modality: str, make: Make) -> dict[str, list[Any]]:
        """What each encoder makes of the rows' media, block by block; rows that fail are named and leave ``items``."""
        with comm.together(EvaluationFailed):
            mine = list(self._blocks(rows, modality, make))
        blocks = _in_turn(comm.gather_objects(mine))
        kept = [flag for block in blocks for flag in block.kept]
        rows.missing.extend(message for block in blocks for message in block.missing)
        rows.items = [item for item, flag in zip(rows.items, kept, strict=True) if flag]
        if not rows.items:
            raise ConfigError(f"no {modality} of '{rows.source}' decodes; the first: {rows.missing[0]}")
        return {who: [block.made[who] for block in blocks if block.made] for who in self.encoders}

    def _blocks(self, rows: Rows, modality: str, make: Make) -> Iterator[_Block]:
        """This rank's blocks, decoded by threads while earlier ones are encoded."""
        rate = self.encoders["trained"].sample_rate_hz if modality == "audio" else None
        # Encoders that do not say how much of a sound they hear get all of it.
        seconds = getattr(self.encoders["trained"], "read_seconds", None) if modality == "audio" else None
        shares = list(_shares(len(rows.items)))

        def decode(item: Item) -> Any:
            try:
                return rows.decode(item, modality, sample_rate_hz=rate, max_seconds=seconds)
            except SkipSample as error:
                return error

        with ThreadPoolExecutor(self.workers) as pool:
            waiting: list[list[Any]] = []
            upcoming = iter(shares)
            label = f"{rows.collection.name} {modality}"
            for share in self._progress(shares, label):
                self._alive()
                while len(waiting) <= AHEAD:
                    block = next(upcoming, None)
                    if block is None:
                        break
                    waiting.append([pool.submit(decode, item) for item in rows.items[block]])
                if share is None:
                    self._stay_in_step(modality)
                    continue
                found = [future.result() for future in waiting.pop(0)]
                good = [each for each in found if not isinstance(each, SkipSample)]
                missing = [str(each) for each in found if isinstance(each, SkipSample)]
                if good:
                    made = {who: make(encoder, good) for who, encoder in self.encoders.items()}
                else:
                    self._stay_in_step(modality)
                    made = {}
                yield _Block(made, [not isinstance(each, SkipSample) for each in found], missing)

    def _stay_in_step(self, modality: str) -> None:
        """Encode something blank: under ZeRO-3 every rank takes part in every forward."""
        if comm.world_size() > 1:
            for encoder in self.encoders.values():
                encoder.encode(modality, [blank(modality, encoder)])

    def _progress(self, blocks: list[slice | None], label: str) -> Any:
        if self._quiet or len(blocks) < 2:
            return blocks
        from rich.progress import track

        return track(blocks, description=label, transient=True)

    # ----------------------------------------------------------------- cache

    def _cache_key(self, who: str, rows: Rows, modality: str) -> str | None:
        identity = getattr(self.encoders[who], "identity", None)
        if self._cache is None or identity is None:
            return None
        try:
            return self._cache.key(identity, modality, rows.digests(modality))
        except SkipSample:
            return None

    def _cached(self, who: str, modality: str, contents: list[bytes], encode: Callable[[], Tensor]) -> Tensor:
        identity = getattr(self.encoders[who], "identity", None)
        if self._cache is None or identity is None:
            return encode()
        key = self._cache.key(identity, modality, [hashlib.sha256(each).digest() for each in contents])
        found = self._cache.find(key)
        if found is None:
            found = encode()
            self._cache.keep(key, found)
        return found


def _shares(rows: int) -> Iterator[slice | None]:
    """This rank's blocks of rows, block b on rank b mod W; None where only other ranks have one left."""
    blocks = -(-rows // BLOCK_ROWS)
    for first in range(0, blocks, comm.world_size()):
        block = first + comm.rank()
        start = block * BLOCK_ROWS
        yield slice(start, min(start + BLOCK_ROWS, rows)) if block < blocks else None


def _in_turn(parts: list[list[Any]]) -> list[Any]:
    """Every rank's blocks in the rows' order."""
    longest = max(len(part) for part in parts)
    return [part[place] for place in range(longest) for part in parts if place < len(part)]


def _refuse_bad(z: Tensor, keys: Sequence[str], *, who: str) -> None:
    bad = (~torch.isfinite(z).all(dim=1)).nonzero().squeeze(1)
    if len(bad):
        raise MetricError(
            f"the {who} encoder gives NaN or infinite embeddings for {len(bad):,} of {len(z):,} rows, the first is "
            f"'{keys[int(bad[0])]}'."
        )
