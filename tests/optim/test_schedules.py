"""Laws that every registered schedule keeps, and each one's own formula."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mmcontrast.optim import SCHEDULES
from mmcontrast.optim.wsd import SHAPES

STEPS, WARMUP = 40, 8
# Name -> fields, and the factor at the end; a name without an example fails.
EXAMPLES: dict[str, list[tuple[dict[str, Any], float]]] = {
    "constant": [({}, 1.0), ({"cooldown_steps": 10}, 0.0)],
    "cosine": [({}, 0.0), ({"final": 0.1}, 0.1)],
    "wsd": [*(({"shape": shape}, 0.0) for shape in SHAPES), ({"final": 0.25}, 0.25), ({"decay": 0.0}, 1.0)],
    "inverse_sqrt": [({"timescale_steps": 8}, (8 / (8 + 32)) ** 0.5), ({"cooldown_steps": 5}, 0.0)],
}
CASES = [(name, fields, end) for name in SCHEDULES.names() for fields, end in EXAMPLES[name]]


def factors(name: str, steps: int = STEPS, **fields: Any) -> list[float]:
    """Factors of all updates, and the one that would follow them."""
    built = SCHEDULES.build(SCHEDULES.get(name).Config(**fields), steps=steps)
    return [built.factor(step) for step in range(steps + 1)]


@pytest.mark.parametrize(("name", "fields", "end"), CASES)
def test_it_rises_linearly_to_one_and_never_again(name: str, fields: dict[str, Any], end: float) -> None:
    found = factors(name, warmup_steps=WARMUP, **fields)
    assert found[:WARMUP] == pytest.approx([(step + 1) / WARMUP for step in range(WARMUP)])
    assert found[WARMUP] == pytest.approx(1.0)
    assert all(later <= earlier for earlier, later in zip(found[WARMUP:], found[WARMUP + 1 :], strict=False))
    assert factors(name, **fields)[0] == pytest.approx(1.0)  # without a warm-up


@pytest.mark.parametrize(("name", "fields", "end"), CASES)
def test_it_ends_where_it_says_and_every_update_counts(name: str, fields: dict[str, Any], end: float) -> None:
    found = factors(name, warmup_steps=WARMUP, **fields)
    assert found[-1] == pytest.approx(end, abs=1e-12)
    assert all(0 < factor <= 1 for factor in found[:-1])


@pytest.mark.parametrize(("name", "fields", "end"), CASES)
def test_it_is_a_function_of_the_step_alone(name: str, fields: dict[str, Any], end: float) -> None:
    # What makes a resumed run exact: no state, whatever was asked before.
    expected = factors(name, warmup_steps=WARMUP, **fields)
    built = SCHEDULES.build(SCHEDULES.get(name).Config(warmup_steps=WARMUP, **fields), steps=STEPS)
    assert [built.factor(step) for step in reversed(range(STEPS + 1))] == expected[::-1]


@pytest.mark.parametrize(("name", "fields", "end"), CASES)
@pytest.mark.parametrize("steps", [1, WARMUP - 1, WARMUP])
def test_a_run_that_ends_in_its_warmup_only_rises(name: str, fields: dict[str, Any], end: float, steps: int) -> None:
    found = factors(name, steps, warmup_steps=WARMUP, **fields)[:-1]
    assert found == pytest.approx([(step + 1) / WARMUP for step in range(steps)])


def test_cosine_is_torchs() -> None:
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    peer = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min=0.1)
    for factor in factors("cosine", final=0.1):
        assert factor == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        peer.step()


def test_wsd_is_its_formula_and_linear_is_constant_with_a_cooldown() -> None:
    found = factors("wsd", decay=0.25)
    assert found[:31] == [1.0] * 31
    assert found[31:] == pytest.approx([1 - math.sqrt(n / 10) for n in range(1, 11)])
    assert factors("wsd", decay=0.25, shape="linear") == pytest.approx(factors("constant", cooldown_steps=10))


def test_up_to_the_fall_a_longer_run_is_the_same() -> None:
    for name, fields in (("wsd", {"decay": 0.5}), ("inverse_sqrt", {}), ("constant", {})):
        short, long = (factors(name, steps, warmup_steps=WARMUP, **fields) for steps in (STEPS, 2 * STEPS))
        assert short[:20] == long[:20]


def test_inverse_sqrt_is_the_transformers_up_to_its_scale() -> None:
    # min(s ** -0.5, s * w ** -1.5) of updates counted from 1, scaled so that its peak is 1.
    found = factors("inverse_sqrt", warmup_steps=WARMUP, timescale_steps=WARMUP)
    for update in range(1, WARMUP + 1):
        assert found[update - 1] == pytest.approx(WARMUP**0.5 * min(update**-0.5, update * WARMUP**-1.5))
    for step in range(WARMUP, STEPS):
        assert found[step] == pytest.approx((WARMUP / step) ** 0.5)
