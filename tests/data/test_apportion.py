"""Apportionment: exact, additive, and never taking a draw back."""

from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from mmcontrast.data.apportion import Apportionment

WEIGHTS = st.lists(st.fractions(min_value=Fraction(1, 1000), max_value=100), min_size=1, max_size=9)


def split(weights: list[Fraction]) -> Apportionment:
    return Apportionment({f"s{index}": weight for index, weight in enumerate(weights)})


@settings(max_examples=100, deadline=None)
@given(WEIGHTS, st.integers(0, 10**12))
def test_shares_add_up_only_grow_and_stay_near_their_exact_part(weights: list[Fraction], count: int) -> None:
    shares = split(weights)
    now, after = shares.drawn(count), shares.drawn(count + 1)
    assert sum(now.values()) == count
    assert sorted(after[name] - now[name] for name in now) == [0] * (len(weights) - 1) + [1]
    levels = math.ceil(math.log2(len(weights)))
    for (_, got), weight in zip(now.items(), weights, strict=True):
        assert abs(got - count * weight / sum(weights)) <= Fraction(levels, 2)


def test_a_share_between_two_others_never_shrinks() -> None:
    shares = split([Fraction(4), Fraction(1), Fraction(5)])  # rounding running sums gives 0, 0, 1, 0, ... here
    middle = [shares.drawn(count)["s1"] for count in range(40)]
    assert middle == sorted(middle) and middle[-1] == 4
