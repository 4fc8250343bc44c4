"""torchvision's policies and random erasing, on one row's own randomness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmcontrast.config import parse
from mmcontrast.data.transforms.image import ImageTransform, train_image
from mmcontrast.data.transforms.policy import Policy, apply_policy
from mmcontrast.errors import ConfigError

POLICIES = [{"name": "trivial_augment"}, {"name": "rand_augment", "operations": 3, "magnitude": 20},
            {"name": "auto_augment"}, {"name": "augmix"}]  # fmt: skip


def photo() -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC)


def view(seed: int, **fields: Any) -> np.ndarray:
    config = parse(ImageTransform, fields, where="test")
    return train_image(photo(), config, size=32, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy["name"])
def test_a_policy_depends_on_the_row_alone_and_leaves_the_process_its_randomness(policy: dict[str, Any]) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    views = [view(seed, policy=policy) for seed in range(8)]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    for seed, before in enumerate(views):
        assert before.shape == (3, 32, 32) and before.dtype == np.uint8
        assert np.array_equal(view(seed, policy=policy), before)
    changed = [not np.array_equal(view(seed), after) for seed, after in enumerate(views)]
    assert sum(changed) >= 4  # identity is among a policy's operations


def test_a_policy_is_torchvisions() -> None:
    from torchvision.transforms import v2

    pixels = np.ascontiguousarray(np.asarray(photo()).transpose(2, 0, 1))
    policy = Policy(name="rand_augment", operations=2, magnitude=15)
    ours = apply_policy(pixels, policy, np.random.default_rng(7))
    torch.manual_seed(int(np.random.default_rng(7).integers(0, 1 << 62)))
    theirs = v2.RandAugment(num_ops=2, magnitude=15)(torch.from_numpy(pixels))
    assert np.array_equal(ours, theirs.numpy())


def test_erasing_changes_one_rectangle_of_the_view() -> None:
    for seed in range(6):
        rows, columns = np.nonzero((view(seed) != view(seed, erase=1.0)).any(axis=0))
        box = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert 0.01 * 32 * 32 < box < 0.4 * 32 * 32
        assert len(rows) > 0.95 * box  # noise equals the picture's pixel in all channels hardly ever


def test_a_policy_of_no_probability_and_no_policy_are_the_same() -> None:
    never = {"name": "trivial_augment", "probability": 0.0}
    assert np.array_equal(view(1, policy=never, erase=0.0), view(1))


def test_fields_that_a_policy_does_not_read_are_refused() -> None:
    for policy in ({"name": "augmix", "magnitude": 3}, {"name": "rand_augment", "magnitude": 31}, {"name": "auto"}):
        with pytest.raises(ConfigError):
            view(0, policy=policy)
