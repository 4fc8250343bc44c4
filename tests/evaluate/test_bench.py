"""Embeddings do not depend on ranks, threads or the cache; what cannot be used is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.config import parse
from mmcontrast.errors import MetricError
from mmcontrast.evaluate import bench as module
from mmcontrast.evaluate.bench import Bench
from mmcontrast.evaluate.cache import EmbeddingCache
from mmcontrast.evaluate.encoder import TowerEncoder
from mmcontrast.evaluate.retrieval import Retrieval
from mmcontrast.model import Model
from tests.dist.pool import on_ranks
from tests.evaluate.fakes import FakeEncoder, make_things
from tests.small_run import run_of


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_things(tmp_path_factory.mktemp("sets") / "things", things=11)


def embedded(source: str, block_rows: int, workers: int = 1) -> dict[str, torch.Tensor]:
    """Pictures and captions of a source, in blocks that several ranks share."""
    module.BLOCK_ROWS = block_rows
    try:
        bench = Bench(FakeEncoder(noise=0.5), workers=workers)
        rows, z = bench.media(source, {}, "image")
        return {"image": z["trained"], "text": bench.texts(rows.field("caption"))["trained"]}
    finally:
        module.BLOCK_ROWS = 128


def test_ranks_threads_and_blocks_change_no_bit(things: str, tmp_path: Path) -> None:
    alone = embedded(things, 128)
    for found in (embedded(things, 3, workers=3), *on_ranks(embedded, 2, tmp_path, things, 3)):
        assert all(torch.equal(found[name], alone[name]) for name in alone)


def test_real_towers_in_batches_of_any_size_give_the_same_metrics(things: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sets = {"pictures": things, "sounds": things}
    model = Model(run_of(sets, tmp_path).model)
    found = {}
    for batch_rows, workers in ((128, 1), (128, 3), (5, 1), (1, 2)):
        bench = Bench(TowerEncoder(model, batch_rows=batch_rows), workers=workers)
        fields = {"source": things, "query": "image", "target": "audio", "match": "thing", "caption_field": "thing"}
        report = Retrieval(parse(Retrieval.Config, fields)).run(bench)
        found[batch_rows, workers] = bench.media(things, {}, "image")[1]["trained"], report
    z, report = found[128, 1]
    assert torch.equal(found[128, 3][0], z) and found[128, 3][1] == report
    for other, again in (found[5, 1], found[1, 2]):
        torch.testing.assert_close(other, z, rtol=0, atol=1e-6)  # products of other shapes round otherwise
        assert again.metrics == report.metrics and again.per_item == report.per_item


class Identified(FakeEncoder):
    """An encoder whose weights have a digest."""

    def __init__(self, identity: str, **fields: Any) -> None:
        super().__init__(**fields)
        self.identity = identity


def test_the_cache_is_keyed_by_weights_and_content(things: str, tmp_path: Path) -> None:
    def calls(identity: str, where: dict[str, str]) -> int:
        encoder = Identified(identity)
        bench = Bench(encoder, cache=EmbeddingCache(tmp_path / "cache"))
        bench.media(things, where, "image")
        bench.texts(["thing 1", "thing 2"])
        return len(encoder.calls)

    assert calls("a", {}) == 2 and calls("a", {}) == 0  # kept
    assert calls("b", {}) == 2  # other weights
    assert calls("a", {"style": "dark"}) == 1  # other pictures, the same texts
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    assert calls("a", {}) == 2  # cut off: computed again


def test_an_embedding_that_is_not_finite_names_its_row(things: str) -> None:
    class Broken(FakeEncoder):
        def encode(self, modality: str, items: Any, *, progress: str | None = None) -> torch.Tensor:
            z = super().encode(modality, items)
            z[3] = torch.nan
            return z

    with pytest.raises(MetricError, match="1 of 22 rows, the first is 'plain-003'"):
        Bench(Broken()).media(things, {}, "image")
