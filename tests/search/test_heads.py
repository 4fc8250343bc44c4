"""Search with downstream heads: a combiner composes, a prior stands for a text, others are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmcontrast.cli import main
from mmcontrast.downstream import DOWNSTREAM
from mmcontrast.downstream.base import About, Head, Prior, Said
from mmcontrast.downstream.combiner import Combiner
from mmcontrast.downstream.folder import write_head
from mmcontrast.downstream.sprc import SPRC
from mmcontrast.search.index import Index, open_index
from mmcontrast.search.query import Query
from mmcontrast.search.searcher import Searcher


def head_of(
    index: Index, name: str, *, towers: dict[str, str] | None = None, sizes: dict[str, int] | None = None
) -> Head:
    """An untrained head for an index's towers."""
    cls = DOWNSTREAM.get(name)
    about = About(dim=index.about.dim, model="m", towers=towers or index.about.towers, modality="image",
                  classes=("a", "b"), sizes=sizes or {})  # fmt: skip
    torch.manual_seed(0)
    head: Head = cls(cls.Config(source="x"), about=about)
    return head.eval().requires_grad_(False)


def test_a_combiner_composes_and_a_prior_stands_for_a_text(index: Path, tmp_path: Path) -> None:
    opened = open_index(index)
    combiner, prior = head_of(opened, "combiner"), head_of(opened, "diffusion_prior")
    for name, head in (("combiner", combiner), ("prior", prior)):
        write_head(head, tmp_path / name)
    asker = Searcher.open(index, heads=[tmp_path / "combiner", tmp_path / "prior"]).asker
    plain = Searcher.open(index).asker
    row, text = ("image", "row-01"), ("a red square",)
    reference, z = plain.point(Query(rows=(row,))), plain.point(Query(text=text))
    assert isinstance(combiner, Combiner) and isinstance(prior, Prior)
    composed = combiner.mixed(reference[None], z[None])[0]
    assert torch.allclose(asker.point(Query(rows=(row,), text=text)), composed, atol=1e-6)
    assert torch.allclose(asker.point(Query(text=text)), prior.sampled(z[None])[0], atol=1e-6)
    assert torch.equal(asker.point(Query(rows=(row,))), reference), "a picture alone is composed of nothing"


def test_a_sentence_level_prompt_is_read_with_every_caption(index: Path, tmp_path: Path) -> None:
    opened, plain = open_index(index), Searcher.open(index).asker
    encoder = plain.embedder("text").encoder
    head = head_of(opened, "sprc", sizes=SPRC.sizes(None, encoder))
    assert isinstance(head, SPRC)
    write_head(head, tmp_path / "sprc")
    asker = Searcher.open(index, heads=[tmp_path / "sprc"]).asker
    row, texts = ("image", "row-01"), ("a red square", "something small and red")
    reference, points = plain.point(Query(rows=(row,))), plain.captions(texts)
    both = head.composed(reference.expand(2, -1), Said(texts, points, encoder))
    assert torch.allclose(asker.point(Query(rows=(row,), text=texts)), opened.geometry.mean(both), atol=1e-5)
    one = head.composed(reference[None], Said(texts[:1], points[:1], encoder))[0]
    assert torch.allclose(asker.point(Query(rows=(row,), text=texts[:1])), one, atol=1e-5)


def test_heads_of_other_towers_and_classifiers_are_refused(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = open_index(index)
    write_head(head_of(opened, "combiner", towers={"image": "other", "text": "other"}), tmp_path / "other")
    write_head(head_of(opened, "close"), tmp_path / "close")
    command = ["search", str(index), "--text", "a red square", "-k", "2", "--head"]
    assert main([*command, str(tmp_path / "other")]) == 2
    assert "this head was trained on 'm', whose image tower is not that of" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "close")]) == 2
    assert "a classifier head answers no search" in capsys.readouterr().err
