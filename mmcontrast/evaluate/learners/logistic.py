"""Multinomial logistic regression by L-BFGS, with CLIP's sweep over its strength.

Letters: B rows, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

STEPS = 1000
START_EXPONENTS = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)  # of 10, of the inverse regularisation
FINEST = 0.125  # of a decade


@dataclass(frozen=True)
class Linear:
    """Scores of classes as a linear function."""

    weight: Float[Tensor, "C D"]
    bias: Float[Tensor, " C"]

    def scores(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Scores of every class."""
        return z.double() @ self.weight.T + self.bias


def fit_logistic(
    z: Float[Tensor, "B D"],
    labels: Int[Tensor, " B"],
    *,
    classes: int,
    inverse_strength: float,
    start: Linear | None = None,
) -> Linear:
    """Minimise the sum of cross-entropies + |weight|^2 / (2 inverse_strength); the bias is free.

    That is scikit-learn's objective, whose name for ``inverse_strength`` is C.  It is convex: ``start`` saves time.
    """
    z = z.double()
    weight = torch.zeros(classes, z.shape[1], dtype=torch.float64) if start is None else start.weight.clone()
    bias = torch.zeros(classes, dtype=torch.float64) if start is None else start.bias.clone()
    weight.requires_grad_(True)
    bias.requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=STEPS, tolerance_grad=1e-7, tolerance_change=1e-12, history_size=20,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> Tensor:
        optimizer.zero_grad()
        # Over the rows, so that one tolerance suits any number of them.
        value = cross_entropy(z @ weight.T + bias, labels) + weight.square().sum() / (2 * inverse_strength * len(z))
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[arg-type]
    return Linear(weight.detach(), bias.detach())


@dataclass(frozen=True)
class Swept:
    """The strength that did best on rows held out for choosing it."""

    inverse_strength: float
    accuracy: float
    tried: dict[float, float]  # inverse strength -> accuracy


def sweep(
    z: Float[Tensor, "B D"],
    labels: Int[Tensor, " B"],
    held_z: Float[Tensor, "H D"],
    held_labels: Int[Tensor, " H"],
    *,
    classes: int,
) -> Swept:
    """Choose the strength: powers of 100 first, then around the best in halved steps, to an eighth of a decade.

    Of equal accuracies the stronger regularisation wins.

    Source: Radford et al. 2021, arXiv:2103.00020, appendix A.3.
    """
    tried: dict[float, float] = {}
    last: Linear | None = None

    def accuracy(exponent: float) -> float:
        nonlocal last
        if exponent not in tried:
            last = fit_logistic(z, labels, classes=classes, inverse_strength=10**exponent, start=last)
            tried[exponent] = float((last.scores(held_z).argmax(dim=1) == held_labels).double().mean())
        return tried[exponent]

    for exponent in START_EXPONENTS:
        accuracy(exponent)
    step = 1.0
    while step >= FINEST:
        best = min(tried, key=lambda each: (-tried[each], each))
        for exponent in (best - step, best + step):
            if START_EXPONENTS[0] <= exponent <= START_EXPONENTS[-1]:
                accuracy(exponent)
        step /= 2
    best = min(tried, key=lambda each: (-tried[each], each))
    return Swept(10**best, tried[best], {10**each: value for each, value in sorted(tried.items())})
