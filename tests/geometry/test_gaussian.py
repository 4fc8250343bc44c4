"""Normals with diagonal covariance against torch's own divergence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn.functional import cross_entropy

from mmcontrast.geometry.gaussian import Gaussian
from mmcontrast.objectives.base import Spaces
from mmcontrast.objectives.geometry_contrast import GeometryContrast
from mmcontrast.objectives.infonce import InfoNCE
from tests.objectives.made_up import made_up

GEOMETRY = Gaussian(Gaussian.Config())


def points(rows: int, seed: int = 0) -> Tensor:
    return GEOMETRY.project(torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed)))


def normal(point: Tensor) -> Independent:
    mean, variance = point.double().chunk(2)
    return Independent(Normal(mean, variance.sqrt()), 1)


def test_similarity_is_minus_the_divergence_per_dimension() -> None:
    a, b = points(4), points(5, seed=1)
    expected = torch.tensor([[-float(kl_divergence(normal(x), normal(y))) / 3 for y in b] for x in a])
    torch.testing.assert_close(GEOMETRY.similarity(a, b), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(GEOMETRY.similarity(a, a).diagonal(), torch.zeros(4), atol=1e-6, rtol=0)


def test_the_mean_has_the_mixtures_moments() -> None:
    several = points(3)
    drawn = torch.cat([normal(point).sample((100_000,)) for point in several])
    mean, variance = GEOMETRY.mean(several).chunk(2)
    torch.testing.assert_close(drawn.mean(dim=0).float(), mean, atol=0.02, rtol=0.02)
    torch.testing.assert_close(drawn.var(dim=0).float(), variance, atol=0.02, rtol=0.02)


def test_the_contrast_asks_each_direction_with_its_query_first() -> None:
    emb = made_up("image", "text", dim=6)
    a, b = (GEOMETRY.project(emb[name].z.detach()) for name in ("image", "text"))
    emb.columns["image"].z.data, emb.columns["text"].z.data = a, b
    objective = GeometryContrast(GeometryContrast.Config(temperature=0.5))
    objective.attach(Spaces(6, {}, similarity=GEOMETRY.similarity))
    rows = torch.arange(len(a))
    forth, back = GEOMETRY.similarity(a, b), GEOMETRY.similarity(b, a)
    assert not torch.allclose(forth, back.T, atol=1e-3)
    expected = (cross_entropy(2 * forth, rows) + cross_entropy(2 * back, rows)) / 2
    assert float(objective(emb).loss.detach()) == pytest.approx(float(expected), rel=1e-5)


def test_on_the_sphere_it_is_infonce() -> None:
    emb = made_up("image", "text", absent=0.3)
    objective = GeometryContrast(GeometryContrast.Config())
    objective.attach(Spaces(8, {}))
    assert float(objective(emb).loss.detach()) == pytest.approx(float(InfoNCE(InfoNCE.Config())(emb).loss.detach()))
