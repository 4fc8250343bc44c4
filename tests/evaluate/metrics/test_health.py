"""How embeddings lie: made-up spaces whose numbers are known."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from mmcontrast.evaluate.metrics.health import (
    anisotropy,
    effective_rank,
    isotropy,
    outlier_dimensions,
    separability,
    spectrum,
    uniformity,
)


def gaussian(rows: int, dims: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, dims, generator=torch.Generator().manual_seed(seed))


def test_uniformity_does_not_depend_on_blocks() -> None:
    z = normalize(gaussian(50, 8), dim=1)
    assert uniformity(z, block_rows=7) == pytest.approx(uniformity(z), abs=1e-5)  # float32 distances


def test_anisotropy_equals_a_loop() -> None:
    z = gaussian(9, 4)
    pairs = [(i, j) for i in range(9) for j in range(9) if i != j]
    expected = sum(float(torch.cosine_similarity(z[i], z[j], dim=0)) for i, j in pairs) / len(pairs)
    assert anisotropy(z) == pytest.approx(expected, abs=1e-6)
    assert anisotropy(torch.ones(5, 3)) == pytest.approx(1)


def test_effective_rank_counts_equal_directions() -> None:
    basis = torch.linalg.qr(gaussian(12, 12)).Q[:3]
    z = torch.cat([basis, -basis])  # three directions of equal weight, mean zero
    assert effective_rank(z) == pytest.approx(3, abs=1e-4)
    assert effective_rank(torch.ones(4, 5)) == 1
    assert effective_rank(gaussian(500, 16)) > 15


def test_outlier_dimensions_are_found_by_size() -> None:
    z = gaussian(200, 32)
    assert outlier_dimensions(z).dimensions == []
    z[:, 5] += 20
    z[:, 9] += 10
    found = outlier_dimensions(z)
    assert found.dimensions == [5, 9] and 0.8 < found.share < 1


def test_separable_modalities_are_told_apart_and_equal_ones_are_not() -> None:
    a, b = gaussian(300, 8), gaussian(300, 8, seed=1)
    assert separability(a, b + 3) > 0.98
    assert separability(torch.ones(9, 3), torch.ones(9, 3)) == 0.5
    assert separability(a, b) == pytest.approx(0.5, abs=0.12)  # 480 held-out rows: four standard errors and the fit


def test_isotropy_equals_a_loop_over_eigenvectors() -> None:
    z = gaussian(40, 5) * torch.tensor([1.0, 0.2, 0.5, 1.5, 0.8])
    _, vectors = torch.linalg.eigh(z.double().T @ z.double())
    sums = [
        sum(float(torch.exp(sign * row.double() @ vectors[:, column])) for row in z)
        for column in range(5)
        for sign in (1, -1)
    ]
    assert isotropy(z) == pytest.approx(min(sums) / max(sums))
    basis = torch.eye(4)
    assert isotropy(torch.cat([basis, -basis])) == pytest.approx(1)


def test_a_spectrum_holds_shares_of_the_variance() -> None:
    z = gaussian(300, 6) * torch.tensor([3.0, 1.0, 1.0, 0.5, 0.1, 0.0])
    shares = spectrum(z)
    expected = torch.linalg.eigvalsh(torch.cov(z.double().T)).flip(0)
    assert torch.allclose(shares.double(), expected / expected.sum(), atol=1e-6) and float(
        shares.sum()
    ) == pytest.approx(1)
    assert spectrum(torch.ones(5, 3)).sum() == 0
