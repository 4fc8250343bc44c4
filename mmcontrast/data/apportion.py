"""How many of the first n draws each of several weighted shares has got: closed form, exact, never going back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction


class Apportionment:
    """Splits n draws by weight, for any n at once.

    The shares stand at the leaves of a balanced binary tree.  At each node the left side has got
    ``floor(n * left / total + 1/2)`` of the n draws that reached the node, and the right side the rest.  Both only
    ever grow with n, and so do all shares; they add up to n; and each is within half a draw, for every level of the
    tree, of its exact part.  (Rounding the running sums of the weights, which is simpler, lets a share shrink: its
    rows would be drawn twice.)
    """

    def __init__(self, weights: Mapping[str, Fraction]) -> None:
        """Prepare to split.

        Args:
            weights: name -> weight above 0; the order of the names is part of the result.
        """
        assert weights and all(weight > 0 for weight in weights.values()), "shares need weights above 0"
        scale = math.lcm(*(weight.denominator for weight in weights.values()))
        self.names = tuple(weights)
        self._weights = [int(weight * scale) for weight in weights.values()]

    def drawn(self, count: int) -> dict[str, int]:
        """How many of the first ``count`` draws each share has got."""
        result: dict[str, int] = {}
        nodes = [(0, len(self.names), count)]
        while nodes:
            first, last, here = nodes.pop()
            if last - first == 1:
                result[self.names[first]] = here
                continue
            middle = (first + last) // 2
            left, total = sum(self._weights[first:middle]), sum(self._weights[first:last])
            given = (2 * here * left + total) // (2 * total)
            nodes += [(middle, last, here - given), (first, middle, given)]
        return result
