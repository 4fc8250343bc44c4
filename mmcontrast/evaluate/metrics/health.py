"""How embeddings lie in their space: alignment, uniformity, gap, separability, rank, outliers, anisotropy.

Letters: B rows, D dimensions.  Distances are those of the coordinates, so numbers of different geometries do not
compare.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

PAIR_ROWS = 4096  # rows of a block of pairwise distances


def gap(a: Float[Tensor, "A D"], b: Float[Tensor, "B D"]) -> float:
    """Euclidean distance between two means.

    Source: Liang et al. 2022, arXiv:2203.02053, section 2.
    """
    return float((a.mean(dim=0) - b.mean(dim=0)).norm())


def alignment(a: Float[Tensor, "B D"], b: Float[Tensor, "B D"]) -> float:
    """Mean squared distance of matching rows; 0 is best.

    Source: Wang and Isola 2020, arXiv:2005.10242, equation 1 with exponent 2.
    """
    return float((a - b).square().sum(dim=1).mean())


def uniformity(z: Float[Tensor, "B D"], *, block_rows: int = PAIR_ROWS) -> float:
    """Log of the mean of exp(-2 distance squared) over pairs of rows; lower is more spread out.

    Source: Wang and Isola 2020, arXiv:2005.10242, equation 2 with t = 2.
    """
    if len(z) < 2:
        return 0.0
    if len(z) <= block_rows:
        return float(torch.pdist(z).square().mul(-2).exp().mean().log())
    total = 0.0
    for start in range(0, len(z), block_rows):
        block = z[start : start + block_rows]
        distances = torch.cdist(block, z, compute_mode="donot_use_mm_for_euclid_dist")
        total += float(distances.square().mul(-2).exp().double().sum()) - len(block)  # less each row with itself
    return float(torch.tensor(total / (len(z) * (len(z) - 1))).log())


def anisotropy(z: Float[Tensor, "B D"]) -> float:
    """Mean cosine of two different rows: 0 when directions are spread evenly, 1 when all point one way.

    Source: Ethayarajh 2019, arXiv:1909.00512, section 4.1.
    """
    if len(z) < 2:
        return 0.0
    unit = normalize(z.double(), dim=1)
    total = unit.sum(dim=0).square().sum() - unit.square().sum()
    return float(total / (len(z) * (len(z) - 1)))


def isotropy(z: Float[Tensor, "B D"]) -> float:
    """Smallest over largest sum of exp(z . c) among the principal directions c and their opposites: 1 is isotropic.

    Source: Mu and Viswanath 2018, arXiv:1702.01417, equations 1 and 2, with both signs of every eigenvector.
    """
    points = z.double()
    _, directions = torch.linalg.eigh(points.T @ points)
    sums = torch.cat([(points @ directions).exp().sum(dim=0), (-points @ directions).exp().sum(dim=0)])
    return float(sums.min() / sums.max())


def spectrum(z: Float[Tensor, "B D"]) -> Float[Tensor, " K"]:
    """Share of the variance along each principal direction of centred rows, largest first; zeros for equal rows."""
    values = torch.linalg.svdvals((z - z.mean(dim=0)).double()).square()
    return (values / values.sum().clamp_min(1e-24)).float()


def effective_rank(z: Float[Tensor, "B D"]) -> float:
    """Exponential of the entropy of the singular values' shares, of centred rows.

    Source: Roy and Vetterli 2007, EUSIPCO; RankMe, Garrido et al. 2023, arXiv:2210.02885, uses it uncentred.
    """
    values = torch.linalg.svdvals((z - z.mean(dim=0)).double())
    total = float(values.sum())
    if total <= 1e-12:
        return 1.0
    shares = values[values > 1e-12 * total] / total
    return float(torch.exp(-(shares * shares.log()).sum()))


@dataclass(frozen=True)
class Outliers:
    """Dimensions that carry far more of the average row than others."""

    dimensions: list[int]  # largest first
    share: float  # of the mean row's squared length, held by them


def outlier_dimensions(z: Float[Tensor, "B D"], *, deviations: float = 6.0) -> Outliers:
    """Dimensions whose mean absolute value lies this many standard deviations above that of the others.

    The deviation is the scaled median absolute one, so that outliers do not hide themselves.

    Source: the outlier dimensions of Kovaleva et al. 2021, arXiv:2105.06990, with a robust scale.
    """
    size = z.double().abs().mean(dim=0)
    middle = size.median()
    scale = 1.4826 * (size - middle).abs().median().clamp_min(1e-12)
    found = (size > middle + deviations * scale).nonzero().squeeze(1)
    found = found[size[found].argsort(descending=True)]
    energy = z.double().square().mean(dim=0)
    share = float(energy[found].sum() / energy.sum()) if len(found) else 0.0
    return Outliers(found.tolist(), share)


def separability(a: Float[Tensor, "A D"], b: Float[Tensor, "B D"], *, seed: int = 0) -> float:
    """Accuracy of telling two modalities apart with a line, on rows held out; 0.5 is indistinguishable.

    One row in five is for fitting, as in the source; row k of both sides falls on the same side of the split, so that
    no pair leaks.  The line is ridge regression on the sign (closed form, so deterministic) where the source uses
    logistic regression.

    Source: Fahim et al. 2024, arXiv:2405.18570, section 4 (linear separability).
    """
    rows = min(len(a), len(b))
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    fit, held = order[: max(1, rows // 5)], order[max(1, rows // 5) :]
    if len(held) == 0:
        return 0.5
    x = torch.cat([a[fit], b[fit]]).double()
    y = torch.cat([torch.ones(len(fit)), -torch.ones(len(fit))]).double()
    centre = x.mean(dim=0)
    x = x - centre
    if not x.any():  # one point for everything: nothing tells the sides apart
        return 0.5
    ridge = 1e-3 * x.square().sum() / len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
    right = ((a[held].double() - centre) @ weight > 0).double().mean() + (
        (b[held].double() - centre) @ weight < 0
    ).double().mean()
    return float(right / 2)
