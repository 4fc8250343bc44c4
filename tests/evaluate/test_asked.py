"""Evaluators of queries that are no rows, on files as they are published: graded, composed, by analogy."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmcontrast.config import parse
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Report
from mmcontrast.evaluate.bench import Bench
from mmcontrast.geometry.lorentz import Lorentz
from mmcontrast.geometry.sphere import Sphere
from tests.evaluate.fakes import FakeEncoder, picture
from tests.evaluate.published import cirr, fashioniq, marqo, put, simat

RED, GREEN = 24, 24


class TwoColours:
    """A picture is its red and its green number; a text adds those it names and takes away those after "not"."""

    modalities = ("image", "text")
    sample_rate_hz = 8000

    def __init__(self) -> None:
        self.geometry = Sphere(Sphere.Config())

    def encode(self, modality: str, items: Sequence[Any], *, progress: str | None = None) -> Tensor:
        """Embed items: (N, D)."""
        return self.geometry.project(torch.stack([self._row(modality, item) for item in items]))

    def _row(self, modality: str, item: Any) -> Tensor:
        z = torch.full((RED + GREEN,), 1e-3)
        if modality == "image":
            red, green = np.asarray(item)[0, 0, :2].tolist()
            z[red] += 1
            z[RED + green] += 1
            return z
        for sign, colour, number in re.findall(r"(not )?(red|green) (\d+)", item):
            z[int(number) + (RED if colour == "green" else 0)] += -1 if sign else 1
        return z


def evaluate(kind: str, source: str, encoder: Any = None, untrained: Any = None, **fields: Any) -> Report:
    cls = EVALUATORS.get(kind)
    bench = Bench(encoder or TwoColours(), untrained)
    return cls(parse(cls.Config, {"source": source, **fields})).run(bench)


# ------------------------------------------------------------------- graded


@pytest.mark.parametrize("fields", [{"image": 1.0}, {"text": 1.0}, {"image": 0.9, "text": 0.1}])
def test_a_ranking_that_knows_the_grades_is_far_above_its_controls(fields: dict[str, float], tmp_path: Path) -> None:
    source = marqo(tmp_path)
    report = evaluate("graded_ranking", source, untrained=FakeEncoder(noise=1, kind="random"), fields=fields)
    metric = report.metrics["nDCG@10"]
    assert report.num_rows == 5 and report.facts["pool"] == 30 and report.facts["judgements_per_query"] == 4
    assert metric.value > 0.85 and metric.chance is not None and metric.value > 2 * metric.chance
    for name in ("shuffled", "constant", *(["untrained"] if fields == {"image": 1.0} else [])):
        assert metric.controls[name] < 0.6  # random texts still equal themselves: a title may be the query
    assert metric.controls["constant"] < metric.chance  # ties go to the less relevant
    assert ("text_length" in metric.controls) == ("text" in fields)
    assert set(report.metrics) == {"nDCG@10", "weighted nDCG@10", "ERR", "RBP 0.9"}
    # Every query has the same judgements, so weights change nothing.
    assert report.metrics["weighted nDCG@10"].value == pytest.approx(metric.value)


def test_published_relevance_chooses_queries_and_is_weighted(tmp_path: Path) -> None:
    marqo(tmp_path)
    report = evaluate("graded_ranking", str(tmp_path / "truth.yaml"), k=1)
    assert report.num_rows == 1 and report.metrics["nDCG@1"].value == 1
    put(tmp_path / "gt_test.json", json.dumps({"red 1 green 0": {"p10": 1}, "red 2 green 0": {"p05": 3}}))
    put(tmp_path / "again.yaml", (tmp_path / "truth.yaml").read_bytes())
    report = evaluate("graded_ranking", str(tmp_path / "again.yaml"), k=1)
    assert report.metrics["nDCG@1"].value == 0.5 and report.metrics["weighted nDCG@1"].value == 0.25


def test_products_that_do_not_decode_leave_the_pool_and_are_named(tmp_path: Path) -> None:
    source = marqo(tmp_path)
    for green in range(4):
        put(tmp_path / "images" / f"p0{green}.png", b"damaged")
    report = evaluate("graded_ranking", source)
    assert report.num_rows == 4 and len(report.missing) == 5
    assert any("query 'red 0 green 0': no relevant product is left" in each for each in report.missing)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("gt_test.json", {"red 9": {"p10": 1}}, "query 'red 9' is not in the table: set query_key"),
        ("gt_test.json", {"red 1 green 0": {"p99": 1}}, "judged product 'p99' is not in 'corpus_2.json'"),
        ("gt_test.json", {"red 1 green 0": 3}, "should hold query -> product -> number"),
        ("corpus_2.json", {"p10": {"title": "x"}, "p25": {}}, "product 'p10' has no 'image_local'"),
    ],
)
def test_published_files_that_do_not_fit_are_named(file: str, content: Any, words: str, tmp_path: Path) -> None:
    marqo(tmp_path)
    put(tmp_path / file, json.dumps(content))
    with pytest.raises(ConfigError, match=words):
        evaluate("graded_ranking", str(tmp_path / "truth.yaml"))


def test_a_source_of_rows_alone_says_which_readers_list_queries(tmp_path: Path) -> None:
    put(tmp_path / "set" / "a" / "x.png", picture(1))
    with pytest.raises(ConfigError, match="lists no queries. Readers that do: cirr, fashioniq, judgements"):
        evaluate("graded_ranking", f"folder:{tmp_path / 'set'}")


# ----------------------------------------------------------------- composed


def test_cirr_leaves_the_reference_out_and_ranks_in_the_group(tmp_path: Path) -> None:
    report = evaluate("composed_retrieval", cirr(tmp_path), untrained=FakeEncoder(noise=1, kind="random"))
    assert report.facts["pool"] == 36 and report.facts["reference_left_out"] and report.num_rows == 6
    whole, subset, mean = (report.metrics[name] for name in ("R@1", "Rs@1", "mean"))
    assert whole.value == subset.value == mean.value == 1
    assert whole.chance == pytest.approx(1 / 35) and subset.chance == pytest.approx(1 / 5)
    assert mean.chance == pytest.approx((5 / 35 + 1 / 5) / 2)
    assert whole.controls["image_only"] < 1 and whole.controls["text_only"] < 1
    assert whole.controls["constant"] == subset.controls["constant"] == 0
    assert report.gallery[0].answers[0].right and len(report.gallery) == 6


def test_fashioniq_joins_its_remarks_and_keeps_the_reference(tmp_path: Path) -> None:
    report = evaluate("composed_retrieval", fashioniq(tmp_path), recall=[10, 50])
    assert set(report.metrics) == {"R@10", "R@50", "mean"} and not report.facts["reference_left_out"]
    assert report.metrics["mean"].value == 1 and report.metrics["mean"].chance == pytest.approx(
        (10 / 60 + 50 / 60) / 2
    )


def test_a_query_whose_picture_is_damaged_is_named(tmp_path: Path) -> None:
    source = cirr(tmp_path)
    put(tmp_path / "dev" / "dev-2-3-0-img0.png", b"damaged")
    report = evaluate("composed_retrieval", source)
    # It is a target once, and a candidate of the group before it.
    assert report.num_rows == 4 and sum("row 'dev-2-3-0-img0' is not there" in each for each in report.missing) == 2


def test_sums_of_embeddings_need_dot_products(tmp_path: Path) -> None:
    encoder = TwoColours()
    encoder.geometry = Lorentz(Lorentz.Config())  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="adds embeddings, which a Lorentz geometry gives no meaning to"):
        evaluate("composed_retrieval", cirr(tmp_path), encoder)


# ---------------------------------------------------------------- analogies


def test_an_analogy_changes_one_part_of_a_picture(tmp_path: Path) -> None:
    report = evaluate("analogies", simat(tmp_path), strength=[1, -1], untrained=FakeEncoder(noise=1, kind="random"))
    best, away = report.metrics["accuracy, strength 1"], report.metrics["accuracy, strength -1"]
    assert best.value == pytest.approx(1) and best.chance == pytest.approx(1 / 11) and report.num_rows == 9
    assert best.controls["image_only"] == away.value == best.controls["text_only"] == best.controls["constant"] == 0
    assert report.missing == ["query '00 obj green 9': no right picture is there to be found"]


def test_analogies_weigh_as_the_reader_says(tmp_path: Path) -> None:
    source = simat(tmp_path)
    for red in range(3):  # what becomes of green 0 is wrong now: three queries of weight 1 beside six of 1/2
        put(tmp_path / "images" / f"A red {red} beside green 0" / f"{red}0.jpg", picture(red + 10, 20 - red))
    report = evaluate("analogies", source)
    assert report.metrics["accuracy, strength 1"].value == pytest.approx(3 / 6)
    assert sum(report.per_item[0].values["accuracy, strength 1"]) == 6
