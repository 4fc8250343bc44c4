"""torchvision's learned and random policies by name, and random erasing, on one row's own randomness."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch

from mmcontrast.config import Count, Fraction, NonNegativeCount, config

Name = Literal["trivial_augment", "rand_augment", "auto_augment", "augmix"]


@config
class Policy:
    """One of torchvision.transforms.v2's policies, with its own probabilities where no field says otherwise."""

    name: Name
    probability: Fraction = 1.0  # how often it is applied
    operations: Count = 2  # of rand_augment: so many after each other
    magnitude: NonNegativeCount = 9  # of rand_augment, 0 to 30: how strong

    def __post_init__(self) -> None:
        if self.name != "rand_augment" and (self.operations, self.magnitude) != (2, 9):
            raise ValueError(f"operations and magnitude are for rand_augment; {self.name} chooses its own.")
        if self.magnitude > 30:
            raise ValueError("magnitude must be from 0 to 30.")


def apply_policy(view: np.ndarray, policy: Policy, rng: np.random.Generator) -> np.ndarray:
    """Return a uint8 view of shape (3, S, S) after the policy."""
    from torchvision.transforms import v2

    makers: dict[str, Any] = {
        "trivial_augment": v2.TrivialAugmentWide,
        "rand_augment": lambda: v2.RandAugment(num_ops=policy.operations, magnitude=policy.magnitude),
        "auto_augment": v2.AutoAugment,
        "augmix": v2.AugMix,
    }
    return _drawn(makers[policy.name](), view, rng)


def erase(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the view with one rectangle of 2 to 33% of its area set to noise.

    Source: Zhong et al. 2017, Random erasing, arXiv:1708.04896, with random values.
    """
    from torchvision.transforms.v2 import RandomErasing

    area = RandomErasing(p=1.0, value=0)
    erased = _drawn(area, np.ones_like(view), rng) == 0
    noise = rng.integers(0, 256, view.shape, dtype=np.uint8)
    return np.where(erased, noise, view)


def _drawn(transform: Any, view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply a transform that draws from torch's global generator, and leave that as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(0, 1 << 62)))
        changed: torch.Tensor = transform(torch.from_numpy(np.ascontiguousarray(view)))
    return changed.numpy()
