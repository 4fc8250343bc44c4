"""The nearest points: exact ones by definition, approximate ones with the recall that was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmcontrast.errors import SearchError
from mmcontrast.geometry import GEOMETRIES
from mmcontrast.search.nearest import DTYPES, KINDS, Dtype, Kind, Nearest
from mmcontrast.search.points import best
from mmcontrast.search.tune import recall_of, tune
from tests.search.spaces import SPHERE, clustered, indexed


@pytest.mark.parametrize("name", GEOMETRIES.names())
def test_the_exact_index_gives_the_geometrys_own_order(name: str) -> None:
    geometry = GEOMETRIES.get(name)(GEOMETRIES.get(name).Config()).requires_grad_(False)
    values, queries = clustered(geometry, 90), clustered(geometry, 4, seed=1)
    expected = geometry.similarity(queries, values)
    points = indexed(values, geometry=geometry)
    for found in (points.nearest(queries, count=7), points.exact(queries, count=7)):
        assert found.places.tolist() == expected.argsort(dim=1, descending=True)[:, :7].tolist()
        torch.testing.assert_close(
            torch.from_numpy(found.scores), expected.sort(dim=1, descending=True).values[:, :7], atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_index_has_the_recall_that_it_says(kind: Kind, dtype: Dtype, tmp_path: Path) -> None:
    values, queries = clustered(SPHERE, 700), clustered(SPHERE, 30, seed=1)
    points = indexed(values, kind=kind, dtype=dtype)
    tuned = tune(points, queries, recall=0.9)
    assert tuned.recall >= 0.9
    points.finder.write(tmp_path / "finder")
    points.finder = Nearest.read(tmp_path / "finder", kind)
    found = points.nearest(queries, count=10, width=tuned.width)
    assert np.all(np.diff(found.scores, axis=1) <= 0)
    truth = (queries @ values.T).argsort(dim=1, descending=True)[:, :10]
    # Coordinates in 16 bits change the order of points that are almost equally near.
    assert recall_of(found.places, truth.numpy()) == pytest.approx(tuned.recall, abs=0 if dtype == "fp32" else 0.02)


def test_more_is_asked_for_than_there_is() -> None:
    points = indexed(clustered(SPHERE, 5), kind="hnsw")
    found = points.nearest(clustered(SPHERE, 2, seed=1), count=10, width=16)
    assert found.places.shape == (2, 5) and sorted(found.places[0].tolist()) == [0, 1, 2, 3, 4]


def test_a_recall_that_is_out_of_reach_is_an_error() -> None:
    points = indexed(clustered(SPHERE, 700), kind="hnsw", dtype="fp32")
    queries = clustered(SPHERE, 30, seed=1)
    points.values = np.ascontiguousarray(points.values[::-1])  # another set than the graph's
    with pytest.raises(SearchError, match=r"of the 10 nearest at its widest, less than the 0\.9 asked"):
        tune(points, queries, recall=0.9)


def test_standard_scores_have_mean_zero_and_deviation_one() -> None:
    values, query = clustered(SPHERE, 200), clustered(SPHERE, 1, seed=1)[0]
    points = indexed(values)
    found = points.standard(query, points.scores(query, np.arange(200)))
    assert found.mean() == pytest.approx(0, abs=1e-5) and found.std() == pytest.approx(1, abs=1e-5)


def test_equal_scores_keep_their_order() -> None:
    places, scores = best(np.array([3, 5, 8, 9]), np.array([1.0, 2.0, 1.0, 2.0]), 3)
    assert places.tolist() == [5, 9, 3] and scores.tolist() == [2, 2, 1]
