"""The direction that no objective disagrees with: the shortest convex combination of their gradients."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mmcontrast import comm
from mmcontrast.combine import COMBINERS
from mmcontrast.combine.base import Combiner
from mmcontrast.config import Count, config


@COMBINERS.register("pareto", "mgda")
class Pareto(Combiner):
    r"""sum_k a_k L_k, with a >= 0, sum a = 1 and || sum_k a_k g_k || least, g_k the gradient for all embeddings.

    The gradients are those for the embeddings of the global batch rather than for every weight, an upper bound that
    costs one backward of each objective and none of the towers.  Objectives without a gradient there share nothing
    and are left a weight of 1 / K.

    Source: Sener and Koltun 2018, arXiv:1810.04650 (MGDA-UB), algorithm 2; Desideri 2012.
    """

    @config
    class Config:
        """Fields of the combiner."""

        normalize: Literal["none", "loss", "norm"] = "loss"  # gradients by the loss, or to length 1, or as they are
        iterations: Count = 100  # of the Frank-Wolfe solver

    def factors(self, losses: dict[str, Tensor], shared: list[Tensor]) -> dict[str, Tensor]:
        """The solution, on every rank the same."""
        names = list(losses)
        even = {name: losses[name].new_full((), 1 / len(names)) for name in names}
        leaves = [each for each in shared if each.requires_grad]
        if len(names) == 1 or not leaves or not torch.is_grad_enabled():
            return even
        gradients = [self._gradient(losses[name], leaves) for name in names]
        products = comm.all_sum(torch.stack([torch.stack([a @ b for b in gradients]) for a in gradients])).double()
        scales = self._scales(losses, products)
        acting = [index for index in range(len(names)) if products[index, index] > 0]
        if len(acting) < 2:
            return even
        part = (products / (scales[:, None] * scales[None, :]))[acting][:, acting]
        found = shortest(part, iterations=self.config.iterations) * len(acting) / len(names)
        return even | {names[index]: found[place].float() for place, index in enumerate(acting)}

    def _gradient(self, loss: Tensor, leaves: list[Tensor]) -> Tensor:
        found = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
        return torch.cat(
            [
                (torch.zeros_like(leaf) if grad is None else grad).flatten().float()
                for leaf, grad in zip(leaves, found, strict=True)
            ]
        )

    def _scales(self, losses: dict[str, Tensor], products: Tensor) -> Tensor:
        if self.config.normalize == "norm":
            return products.diagonal().sqrt().clamp_min(1e-12)
        if self.config.normalize == "loss":
            return torch.stack([comm.all_mean(loss).double().abs() for loss in losses.values()]).clamp_min(1e-12)
        return torch.ones(len(losses), dtype=torch.float64, device=products.device)


def shortest(products: Float[Tensor, "K K"], *, iterations: int) -> Float[Tensor, " K"]:
    """Weights of the shortest convex combination of K vectors, from their inner products (Frank-Wolfe)."""
    weights = torch.full((len(products),), 1 / len(products), dtype=products.dtype, device=products.device)
    for _ in range(iterations):
        slopes = products @ weights
        best = int(slopes.argmin())
        here, there, across = weights @ slopes, products[best, best], slopes[best]
        step = ((here - across) / (here - 2 * across + there).clamp_min(1e-30)).clamp(0, 1)
        weights = (1 - step) * weights
        weights[best] += step
    return weights
