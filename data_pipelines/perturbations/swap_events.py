"""Two events in the other order: "a bell then a dog" to "a dog then a bell"."""

from __future__ import annotations

import re

import numpy as np

from data_pipelines.perturbations import PERTURBATIONS
from data_pipelines.perturbations.base import Perturbation
from mmcontrast.config import config


@PERTURBATIONS.register("swap_events")
class SwapEvents(Perturbation):
    """Exchange what stands before and after the first connective of time.

    Source: Ghosh et al. 2024, CompA, arXiv:2310.08753, whose order negatives reverse the operands of a sequence.
    """

    @config
    class Config:
        """Connectives."""

        connectives: tuple[str, ...] = ("followed by", "and then", "then", "before", "after")  # the first found counts

    def perturb(self, caption: str, rng: np.random.Generator) -> str | None:
        """The other order; None where no connective parts two different events."""
        pattern = "|".join(re.escape(each) for each in self.config.connectives)
        found = re.search(rf"^(.+?)([,;]?\s+(?:{pattern})\s+)(.+?)([.!]?)$", caption.strip(), flags=re.I)
        if found is None:
            return None
        first, link, second, end = found.groups()
        if first.lower() == second.lower():
            return None
        if first[:1].isupper() and not first[1:2].isupper():
            first, second = first[:1].lower() + first[1:], second[:1].upper() + second[1:]
        return f"{second}{link}{first}{end}"
