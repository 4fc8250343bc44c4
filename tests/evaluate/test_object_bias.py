"""Which object of several is nearest: counts by place, by encoders that favour one; files that cannot be asked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmcontrast.config import parse
from mmcontrast.errors import ConfigError, MissingData
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Report
from mmcontrast.evaluate.bench import Bench
from mmcontrast.evaluate.object_bias import nearest
from tests.evaluate.fakes import DIM, FakeEncoder, make_things, picture
from tests.evaluate.published import put

NAMES = ("ant", "bee", "cow", "dog", "elk")


@pytest.fixture(scope="module")
def comco(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Scenes of three of five objects in every order; the picture is the second object's, the large one."""
    root = tmp_path_factory.mktemp("sets") / "comco"
    for number, name in enumerate(NAMES):
        put(root / "CoCo-OneObject" / f"{name}.png", picture(number))
    for objects in permutations(NAMES, 3):
        scene = root / "CoCo-FourObject-Middle-Big" / f"{'_'.join(objects)}.png"
        put(scene, picture(NAMES.index(objects[1])))
    return f"comco:{root}"


class Weighing(FakeEncoder):
    """Writes each name as its own direction, less of it the later it comes."""

    def __init__(self, *weights: float) -> None:
        super().__init__()
        self.weights = weights

    def encode(self, modality: str, items: Sequence[Any], *, progress: str | None = None) -> Tensor:
        if modality != "text":
            return super().encode(modality, items)
        rows = torch.zeros(len(items), DIM)
        for row, text in zip(rows, items, strict=True):
            for weight, name in zip(self.weights, text.split(" and "), strict=False):
                row[NAMES.index(name)] = weight
        return self.geometry.project(rows)


def evaluate(source: str, encoder: FakeEncoder, **fields: Any) -> Report:
    cls = EVALUATORS.get("object_bias")
    return cls(parse(cls.Config, {"source": source, "places": 3, **fields})).run(Bench(encoder))


def values(report: Report) -> list[float]:
    return [metric.value for metric in report.metrics.values()]


def test_the_place_that_an_encoder_favours_is_found(comco: str) -> None:
    report = evaluate(comco, Weighing(3, 2, 1))
    assert list(report.metrics) == ["place 1", "place 2", "place 3", "found"]
    assert values(report) == [1, 0, 0, 1] and report.num_rows == 3 * 60
    assert values(evaluate(comco, Weighing(1, 2, 3), rotate=False)) == [0, 0, 1, 1]
    image = evaluate(comco, FakeEncoder(), modality="image")
    assert values(image) == [0, 1, 0, 1] and image.num_rows == 60 and image.gallery


def test_an_encoder_that_forgets_order_finds_nothing_and_one_that_guesses_is_at_chance(comco: str) -> None:
    with pytest.raises(MissingData, match="of no scene"):
        evaluate(comco, Weighing(1, 1, 1))
    guessing = evaluate(comco, FakeEncoder(noise=1, kind="random"))
    found = guessing.metrics["found"]
    assert found.chance == 3 / 5 and found.low is not None and found.high is not None
    assert found.value == pytest.approx(found.chance, abs=0.2)
    assert sum(values(guessing)[:-1]) == pytest.approx(1)  # of the scenes of which one is found
    assert found.controls["constant"] == 0


def test_a_tie_is_no_find() -> None:
    scores = torch.tensor([[0.5, 0.5, 0.1], [0.1, 0.9, 0.2], [0.3, 0.2, 0.8]])
    columns = torch.tensor([[0, 1], [0, 1], [0, 1]])
    assert nearest(scores, columns).tolist() == [[False, False], [False, True], [False, False]]


def test_what_cannot_be_asked_is_named(comco: str, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="3 objects, places is 4"):
        evaluate(comco, Weighing(1), places=4)
    with pytest.raises(ConfigError, match="reads comco:FOLDER"):
        evaluate(make_things(tmp_path / "things", things=2), Weighing(1))


def test_a_linear_read_out_of_each_place_is_a_probe(comco: str) -> None:
    cls = EVALUATORS.get("linear_probe")
    fields = {"source": comco, "modality": "text", "text_field": "caption", "where": {"kind": "scene"}, "fold": "fold"}
    first = cls(parse(cls.Config, fields | {"label": "object_1"})).run(Bench(Weighing(3, 2, 1)))
    assert first.metrics["top1"].value > 0.9
