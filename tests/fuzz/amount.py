"""How much is fuzzed: a tenth, or with ``--full`` all of it."""

from __future__ import annotations

import pytest

CI_SHARE = 10


def amount(config: pytest.Config, *, full: int) -> int:
    """Number of mutants of this run."""
    return full if config.getoption("--full") else full // CI_SHARE
