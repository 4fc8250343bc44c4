"""Hyperbolic space against its formulas in plain loops, in double precision."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mmcontrast import lorentz
from mmcontrast.errors import ConfigError
from mmcontrast.geometry.lorentz import Lorentz
from mmcontrast.objectives.base import Spaces
from mmcontrast.objectives.entailment import Entailment
from mmcontrast.types import Embedded, Embeddings

C = 1.7


def geometry() -> Lorentz:
    return Lorentz(Lorentz.Config(curvature=C))


def points(rows: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return geometry().project(0.7 * torch.randn(rows, 5, generator=generator)).detach()


def time_of(x: Tensor) -> float:
    return math.sqrt(1 / C + sum(float(each) ** 2 for each in x.double()))


def inner(x: Tensor, y: Tensor) -> float:
    return float(x.double() @ y.double()) - time_of(x) * time_of(y)


def distance(x: Tensor, y: Tensor) -> float:
    return math.acosh(max(-C * inner(x, y), 1.0)) / math.sqrt(C)


def test_similarity_is_minus_the_geodesic_distance() -> None:
    a, b = points(), points(4, seed=1)
    expected = torch.tensor([[-distance(x, y) for y in b] for x in a])
    torch.testing.assert_close(geometry().similarity(a, b).detach(), expected, atol=1e-5, rtol=1e-5)


def test_a_tangent_vectors_length_is_the_distance_from_the_origin() -> None:
    vectors = torch.tensor([[0.3, 0.4], [3.0, 4.0], [0.0, 0.0]])
    found = geometry().project(vectors).detach()
    assert [distance(x, torch.zeros(2)) for x in found] == pytest.approx([0.5, 5.0, 0.0], rel=1e-4)
    torch.testing.assert_close(lorentz.logarithmic_map(found, torch.tensor([C])), vectors, atol=1e-5, rtol=1e-4)


def test_the_mean_of_one_point_is_that_point() -> None:
    (point,) = points(1)
    torch.testing.assert_close(geometry().mean(point[None]).detach(), point, atol=1e-6, rtol=1e-5)


def exterior(x: Tensor, y: Tensor) -> float:
    c_xy = C * inner(x, y)
    length = math.sqrt(sum(float(each) ** 2 for each in x.double()))
    return math.acos((time_of(y) + time_of(x) * c_xy) / (length * math.sqrt(c_xy**2 - 1)))


def aperture(x: Tensor, nearest: float = 0.1) -> float:
    length = math.sqrt(sum(float(each) ** 2 for each in x.double()))
    return math.asin(min(2 * nearest / (math.sqrt(C) * length), 1.0))


def test_a_point_further_out_on_the_axis_is_entailed() -> None:
    x = points(1)
    c = torch.tensor([C])
    assert float(lorentz.exterior_angles(x, 2 * x, c)) < 0.01 < float(lorentz.half_apertures(x, c, nearest=0.1))
    assert float(lorentz.exterior_angles(x, 0.5 * x, c)) == pytest.approx(math.pi, abs=0.01)


def test_the_loss_is_the_papers_formula() -> None:
    image, text = points(), points(seed=1)
    present = torch.tensor([True, True, False, True, True, True])
    emb = Embeddings(
        {
            "image": Embedded(image * present[:, None], present),
            "text": Embedded(text, torch.ones(6, dtype=torch.bool)),
        },
        {},
        list("abcdef"),
    )
    objective = Entailment(Entailment.Config(temperature=0.2, entail=0.3))
    space = Lorentz(Lorentz.Config(curvature=C, learn_curvature=False))
    objective.attach(Spaces(5, {}, similarity=space.similarity, curvature=space.curvature))
    rows = [row for row in range(6) if present[row]]
    logits = torch.tensor([[-5 * distance(image[i], text[j]) for j in range(6)] for i in rows])
    to_text = cross_entropy(logits, torch.tensor(rows))
    # Rows without a picture are keys of no caption, and captions without one are asked nothing.
    back = torch.tensor([[-5 * distance(text[i], image[j]) for j in rows] for i in rows])
    to_image = cross_entropy(back, torch.arange(len(rows)))
    entail = sum(max(0.0, exterior(text[i], image[i]) - aperture(text[i])) for i in rows) / len(rows)
    assert entail > 0.1
    expected = float(to_text + to_image) / 2 + 0.3 * entail
    assert float(objective(emb).loss.detach()) == pytest.approx(expected, rel=1e-4)


def test_a_flat_space_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="model.geometry"):
        Entailment(Entailment.Config()).attach(Spaces(5, {}))
