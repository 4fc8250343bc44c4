"""How long each row's captions are, before any is tokenized: for batches of rows of like length."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Int

from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.data.shards import ShardSet
from mmcontrast.errors import SkipSample


@lru_cache(maxsize=64)
def caption_lengths(shards: ShardSet, column: ColumnSpec, fields: tuple[str, ...]) -> Int[np.ndarray, " N"]:
    """Bytes of each row's captions, the mean of several; 0 where a row's cannot be read.

    Captions that are members of their own are measured by the index; of those in a JSON field, every row's JSON is
    read once a process.

    Args:
        column: where captions are.
        fields: JSON fields of captions, which take the column's place.
    """
    if not fields and column.field is None:
        return shards.index.sizes(column.extensions)
    asked = fields or (column.field,)
    return np.array([_length(shards, row, asked) for row in range(len(shards))], np.int64)


def _length(shards: ShardSet, row: int, fields: tuple[str | None, ...]) -> int:
    try:
        info = shards.info(row)
    except SkipSample:  # named when the row is drawn
        return 0
    texts: list[str] = []
    for field in fields:
        value = info.get(field or "")
        texts += [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
    return sum(len(text.encode("utf-8", "replace")) for text in texts) // max(1, len(texts))
