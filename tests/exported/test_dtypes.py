"""int8 rows: half a step of error at most, in plain loops."""

from __future__ import annotations

import torch

from mmcontrast.exported.dtypes import packed, quantized_rows, rounded, unpacked


def test_each_value_is_off_by_half_a_step_of_its_row_at_most() -> None:
    weight = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(0))
    weight[2] = 0
    steps, scale = quantized_rows(weight)
    for row in range(5):
        largest = max(abs(float(value)) for value in weight[row].flatten())
        assert float(scale[row]) == (torch.tensor(largest) / 127 if largest else 1)
        for value, step in zip(weight[row].flatten(), steps[row].flatten(), strict=True):
            assert abs(float(value) - int(step) * float(scale[row])) <= float(scale[row]) / 2 * 1.0001


def test_what_is_no_matrix_stays_as_it_is() -> None:
    state = {
        "gain": torch.randn(64),
        "count": torch.arange(3),
        "narrow": torch.randn(4, 2),
        "wide": torch.randn(4, 32),
    }
    stored = packed(state, "int8")
    assert stored["wide"].dtype == torch.int8 and set(stored) == {*state, "wide::scale"}
    back = unpacked(stored)
    assert all(torch.equal(back[name], state[name]) for name in ("gain", "count", "narrow"))


def test_rounding_twice_is_rounding_once() -> None:
    state = {"wide": torch.randn(6, 40), "gain": torch.randn(6)}
    for dtype in ("fp32", "fp16", "bf16"):
        once = rounded(state, dtype)  # type: ignore[arg-type]
        assert all(torch.equal(value, rounded(once, dtype)[name]) for name, value in once.items())  # type: ignore[arg-type]
