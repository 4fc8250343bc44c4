"""Which rows of a set a source has, and their order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mmcontrast.data.buckets import Buckets
from mmcontrast.data.caption_lengths import caption_lengths
from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.data.order import LineOrder
from mmcontrast.data.shards import ShardSet
from mmcontrast.data.streaming import StreamedShards, StreamOrder
from mmcontrast.errors import ConfigError

if TYPE_CHECKING:
    from mmcontrast.data.source import SourceConfig


def line_order(
    config: SourceConfig,
    *,
    shards: ShardSet | StreamedShards,
    name: str,
    seed: int,
    block_rows: int,
    lanes: int,
    batch_rows: int = 1,
    bucket_batches: int = 0,
) -> LineOrder:
    """The order of a source's rows.

    Raises:
        ConfigError: no row has the fields that ``where`` asks for, or ``bucket_batches`` cannot be had.
    """
    if isinstance(shards, StreamedShards):
        if bucket_batches:
            raise ConfigError(f"source '{name}': data.bucket_batches needs an index, and a stream has none.")
        return StreamOrder(len(shards))
    shard_rows = np.array([shard.rows for shard in shards.manifest.shards])
    if config.where:
        rows = np.asarray(matching_rows(shards, config.where, name=name))
        ends = np.searchsorted(rows, np.cumsum(shard_rows))
        shard_rows = np.diff(ends, prepend=0)
    buckets = None
    if bucket_batches:
        lengths = _lengths(config, shards, name=name)
        if len(lengths) > block_rows and batch_rows % min(lanes, len(lengths)):
            raise ConfigError(
                f"source '{name}': data.bucket_batches gives each batch an equal share of every lane, but "
                f"data.batch_rows, {batch_rows:,}, is no multiple of data.lanes, {lanes}. Choose lanes that divide "
                f"it, or raise data.block_rows to the source's {len(lengths):,} rows."
            )
        buckets = Buckets(lengths, batch_rows, bucket_batches)
    return LineOrder(shard_rows.tolist(), seed=seed, name=name, block_rows=block_rows, lanes=lanes, buckets=buckets)


def _lengths(config: SourceConfig, shards: ShardSet, *, name: str) -> np.ndarray:
    rows = np.asarray(matching_rows(shards, config.where, name=name))
    column = shards.manifest.columns.get("text")
    if column is None and not config.text.fields:
        raise ConfigError(f"source '{name}': data.bucket_batches sorts by captions, and it has no column 'text'.")
    column = column or ColumnSpec(modality="text", extension="json")
    return caption_lengths(shards, column, tuple(config.text.fields))[rows]


def matching_rows(shards: ShardSet | StreamedShards, where: dict[str, str], *, name: str) -> Sequence[int]:
    """Positions of the rows whose JSON fields have the wanted values.

    Raises:
        ConfigError: none has.
    """
    found = _rows_where(shards, tuple(sorted(where.items())))
    if not found:
        raise ConfigError(f"source '{name}': no row has {where}.")
    return found


@lru_cache(maxsize=64)
def _rows_where(shards: ShardSet | StreamedShards, where: tuple[tuple[str, str], ...]) -> Sequence[int]:
    """Read every row's JSON once a process: the check asks first, the loader again."""
    if not where:
        return range(len(shards))
    assert isinstance(shards, ShardSet), "a stream has no where"
    infos = ((row, shards.info(row)) for row in range(len(shards)))
    return [row for row, info in infos if all(str(info.get(field)) == value for field, value in where)]
