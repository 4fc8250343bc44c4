"""Queries refined by a memory of pairs: what neighbours tell is used, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from mmcontrast.cli import main
from mmcontrast.errors import SearchError
from mmcontrast.search.build import Job as IndexJob
from mmcontrast.search.build import build
from mmcontrast.search.index import Index, open_index
from mmcontrast.search.memory import Memory
from mmcontrast.search.query import Query
from mmcontrast.search.refine import TEMPERATURE, Job, contrast, refine
from mmcontrast.search.refiner import Refiner, RefinerAbout, read_refiner
from mmcontrast.search.searcher import Searcher
from tests.search.spaces import write_embeddings

ROWS, CLASSES, DIM = 120, 12, 16


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Twelve kinds of rows whose pictures lie where their captions do not point: only neighbours can tell."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.arange(ROWS) % CLASSES
    points = {
        name: normalize(
            torch.randn(CLASSES, DIM, generator=generator)[kinds] + 0.3 * torch.randn(ROWS, DIM, generator=generator),
            dim=1,
        )
        for name in ("image", "text")
    }
    points["image"][3] = 0  # no picture
    folder = tmp_path_factory.mktemp("pairs")
    captions = [f"kind {kind}" for kind in kinds.tolist()]
    build(IndexJob(embeddings=(write_embeddings(folder / "embedded", points, captions),), out=folder / "index"))
    return open_index(folder / "index")


def test_neighbours_are_found_by_one_modality_and_read_as_the_other(pairs: Index) -> None:
    memory = Memory(pairs, ("image", "text"))
    assert len(memory.rows) == ROWS - 1
    text, image = (memory.points(name, memory.rows) for name in ("text", "image"))
    found = memory.neighbours("text", text[:4], count=5, without=memory.rows[:4])
    for query in range(4):
        order = sorted(range(len(text)), key=lambda row: -float(text[query] @ text[row]))
        nearest = [row for row in order if row != query][:5]
        torch.testing.assert_close(found.points[query], image[nearest])
    assert found.real.all()
    assert not memory.neighbours("text", text[:1], count=200).real.all()


def test_refining_learns_what_neighbours_tell(pairs: Index, tmp_path: Path) -> None:
    done = refine(Job(index=pairs.folder, out=tmp_path / "refiner", neighbours=4, steps=60, lr=3e-3))
    for direction in done:
        assert direction.queries == 12 and direction.plain < 0.5 and direction.refined > 0.8
    again = refine(Job(index=pairs.folder, out=tmp_path / "again", neighbours=4, steps=60, lr=3e-3))
    assert [each.refined for each in again] == [each.refined for each in done]
    z = Memory(pairs, ("image", "text")).points("text", np.array([0, 1]))
    read = read_refiner(tmp_path / "refiner").refined(Memory(pairs, ("image", "text")), "text", z)
    torch.testing.assert_close(read.norm(dim=1), torch.ones(2))
    (tmp_path / "refiner" / "refiner.safetensors").write_bytes(b"no")
    with pytest.raises(SearchError, match="refiner.safetensors is damaged"):
        read_refiner(tmp_path / "refiner")


def test_the_contrast_spares_rows_that_say_the_same() -> None:
    a, b = normalize(torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0)), dim=-1)
    groups = torch.tensor([0, 1, 0, 2])
    total = 0.0
    for row in range(4):
        keys = [key for key in range(4) if key == row or groups[key] != groups[row]]
        for x, y in ((a, b), (b, a)):
            logits = (x[row] @ y[keys].T / TEMPERATURE)[None]
            total += float(cross_entropy(logits, torch.tensor([keys.index(row)]))) / 8
    assert float(contrast(a, b, groups)) == pytest.approx(total, rel=1e-5)


def test_an_untrained_refiner_changes_no_answer_and_another_models_is_refused(index: Path) -> None:
    opened = open_index(index)
    memory, query = Memory(opened, ("image", "text")), Query(text=("a red square",))
    about = RefinerAbout(
        pair=("image", "text"), dim=opened.about.dim, neighbours=3, heads=2, towers=opened.about.towers
    )
    plain = Searcher(opened).search(query, modality="image")
    fresh = Searcher(opened, refined_by=(Refiner(about).eval(), memory)).search(query, modality="image")
    assert [hit.number for hit in fresh.hits] == [hit.number for hit in plain.hits]
    assert [hit.score for hit in fresh.hits] == pytest.approx([hit.score for hit in plain.hits], abs=1e-6)
    other = Refiner(RefinerAbout(**{**vars(about), "towers": {"image": "1", "text": "2"}}))
    with pytest.raises(SearchError, match="made for another image tower"):
        Searcher(opened, refined_by=(other, memory)).search(query, modality="image")


def test_mistakes_are_named(index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, says in (
        (["refine", str(index), "--out", str(tmp_path / "out")], "has 11 pairs of image, text; 40 are needed"),
        (["refine", str(index), "--out", str(tmp_path)], "is there already"),
        (["refine", str(index), "--out", str(tmp_path / "out"), "--pair", "image"], "'image' is no pair"),
        (["refine", str(index), "--out", str(tmp_path / "out"), "--steps", "-1"], "must be positive"),
        (["search", str(index), "--text", "a", "--memory", str(index)], "a memory is read by a refiner"),
        (["search", str(index), "--text", "a", "--refine", str(tmp_path)], "it has no sha256.json"),
    ):
        assert main(command) == 2
        assert says in capsys.readouterr().err
