"""Towers as compiled kernels."""

from __future__ import annotations

from torch import nn

BACKEND = "inductor"


def compile_tower(tower: nn.Module) -> None:
    """Compile a tower at its first call, in place: modules and names of weights stay as they are.

    The first number of rows and length of captions makes a kernel of its own, the second one kernels for any.
    """
    from torch._inductor import config

    # Dropout draws what it would draw uncompiled: forward with and without a graph must agree (GradCache), and kernels
    # of the two would number their draws apart.
    config.fallback_random = True
    tower.compile(dynamic=None, backend=BACKEND)
