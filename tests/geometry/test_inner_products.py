"""Every geometry is searched by dot products: their order is the similarity's."""

from __future__ import annotations

import pytest
import torch

from mmcontrast.geometry import GEOMETRIES


@pytest.mark.parametrize("name", GEOMETRIES.names())
def test_dot_products_order_keys_as_the_similarity_does(name: str) -> None:
    geometry = GEOMETRIES.get(name)(GEOMETRIES.get(name).Config())
    generator = torch.Generator().manual_seed(0)
    queries, keys = (geometry.project(torch.randn(rows, 8, generator=generator)) for rows in (5, 40))
    expected = geometry.similarity(queries, keys)
    found = geometry.inner_queries(queries) @ geometry.inner_keys(keys).T
    assert torch.equal(found.argsort(dim=1), expected.argsort(dim=1))
