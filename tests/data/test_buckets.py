"""Batches of captions of like length: the same rows an epoch, the same order for everyone, less padding."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from data_pipelines.pack import Sample, write_shards
from mmcontrast.config import parse
from mmcontrast.data.caption_lengths import caption_lengths
from mmcontrast.data.loader import DataConfig, Loader
from mmcontrast.data.manifest import ColumnSpec
from mmcontrast.data.order import Buckets, LineOrder
from mmcontrast.data.shards import ShardSet
from mmcontrast.errors import ConfigError
from mmcontrast.specs import TextSpec
from mmcontrast.tokenizers import TOKENIZERS

ROWS, BATCH_ROWS = 50, 4
TEXT = TextSpec(tokenizer=TOKENIZERS.get("hashed_words").Config(), context_length=64)


@pytest.fixture(scope="module", params=["member", "field"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Captions of 1 to 12 words, as members of their own or in a JSON field."""
    folder, field = tmp_path_factory.mktemp("words"), request.param == "field"
    words = np.random.default_rng(0).integers(1, 13, ROWS).tolist()
    rows = [
        Sample(
            key=f"{row:03d}",
            members={} if field else {"txt": b"word " * count},
            info={"said": ["word " * count], "licence": "none"},
        )
        for row, count in enumerate(words)
    ]
    column = ColumnSpec(modality="text", extension="json" if field else "txt", field="said" if field else None)
    write_shards(rows, folder=folder, name="words", made_by={}, columns={"text": column}, rows_per_shard=20)
    return str(folder)


def loaded(folder: str, *, steps: int = 25, **fields: Any) -> list[Any]:
    tree = {
        "sources": {"a": {"manifest": folder}},
        "batch_rows": BATCH_ROWS,
        "draw": "per_step",
        "workers": 0,
        **fields,
    }
    world_size = tree.pop("world_size", 1)
    loaders = [
        Loader(parse(DataConfig, tree), seed=3, specs={"text": TEXT}, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for loader in loaders:
        loader.seek(0, last=steps)
    return [[each.batch for each in step] for step in zip(*loaders, strict=True)]


def test_every_epoch_has_every_row_once_in_batches_of_like_length(folder: str) -> None:
    plain, sorted_ = loaded(folder), loaded(folder, bucket_batches=5)
    keys = [key for (batch,) in sorted_ for key in batch.keys]
    assert len(set(keys[:48])) == 48 and set(Counter(keys).values()) == {2}  # one batch is of both epochs
    assert keys[:48] != keys[-48:]

    def padding(steps: list[Any]) -> int:
        return sum(int((batch.columns["text"].values == 0).sum()) for (batch,) in steps)

    assert 0 < padding(sorted_) < padding(plain) / 2
    # Short and long ones take turns: batches are shuffled after their rows were sorted.
    longest = [batch.columns["text"].values.shape[1] for (batch,) in sorted_]
    assert longest != sorted(longest)


def test_ranks_and_sought_steps_have_the_same_order(folder: str) -> None:
    whole = [batch.keys for (batch,) in loaded(folder, bucket_batches=5)]
    ranks = [[key for batch in step for key in batch.keys] for step in loaded(folder, bucket_batches=5, world_size=2)]
    assert ranks == whole
    tree = {"sources": {"a": {"manifest": folder}}, "batch_rows": BATCH_ROWS, "draw": "per_step", "bucket_batches": 5}
    loader = Loader(parse(DataConfig, {**tree, "workers": 0}), seed=3, specs={"text": TEXT})
    loader.seek(17, last=20)
    assert [each.batch.keys for each in loader] == whole[17:20]


def test_batches_begin_where_they_do_in_the_line_of_all_epochs() -> None:
    lengths = np.arange(10)
    order = LineOrder([10], seed=0, name="x", block_rows=10, lanes=1, buckets=Buckets(lengths, 4, 2))
    rows = order.locate(np.arange(30)).rows
    assert all(sorted(rows[start : start + 10]) == list(range(10)) for start in (0, 10, 20))
    # Epoch 1 begins at position 10: two rows of a batch that epoch 0 began, then two whole batches, sorted together.
    for batch in (rows[0:4], rows[4:8], rows[12:16], rows[16:20]):
        assert list(batch) == sorted(batch)
    first, second = rows[12:16], rows[16:20]
    assert max(first) < min(second) or max(second) < min(first)


def test_lengths_are_bytes_of_captions(folder: str) -> None:
    shards = ShardSet(folder)
    column = shards.manifest.columns["text"]
    expected = [len(" ".join(["word"] * count)) for count in np.random.default_rng(0).integers(1, 13, ROWS)]
    found = caption_lengths(shards, column, ())
    assert np.abs(found - expected).max() <= 1  # a blank at the end
    assert np.array_equal(caption_lengths(shards, column, ("said",)) >= found, np.ones(ROWS, bool))
    assert not caption_lengths(shards, column, ("absent",)).any()


def test_what_cannot_be_sorted_is_refused(folder: str) -> None:
    with pytest.raises(ConfigError, match="Set draw: per_step"):
        loaded(folder, bucket_batches=5, draw="per_row")
    with pytest.raises(ConfigError, match=r"Raise data.block_rows from 20 to its 50 rows"):
        loaded(folder, bucket_batches=5, block_rows=20)
    streamed = {"a": {"manifest": folder, "stream": {"columns": {"text": "txt"}, "rows": 50}}}
    with pytest.raises(ConfigError, match="a stream has none"):
        loaded(folder, bucket_batches=5, sources=streamed)
