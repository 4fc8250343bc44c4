"""``shards-{0000..0999}.tar`` and globs to lists of shards; the list's length is known before it is built."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

from mmcontrast.errors import ConfigError

MOST_SHARDS = 1_000_000
BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand_braces(pattern: str) -> list[str]:
    """Expand ``{first..last}`` and ``{a,b}``, several of them as a product; the last varies fastest.

    Raises:
        ConfigError: over a million names, nested braces, or a range that runs backwards.
    """
    parts = BRACES.split(pattern)  # literals at even places, what is inside braces at odd ones
    if any("{" in literal or "}" in literal for literal in parts[::2]):
        raise ConfigError(f"'{pattern}': braces are nested or not closed.")
    choices: list[Sequence[str]] = []
    count = 1
    for inside in parts[1::2]:
        match = RANGE.fullmatch(inside)
        alternatives = len(inside.split(",")) if match is None else int(match[2]) - int(match[1]) + 1
        if alternatives < 1:
            raise ConfigError(f"'{pattern}': the range {{{inside}}} runs backwards.")
        count = math.prod((count, alternatives))
        if count > MOST_SHARDS:
            raise ConfigError(f"'{pattern}' stands for over {MOST_SHARDS:,} shards, the most that are expanded.")
        choices.append(inside.split(",") if match is None else _numbers(match[1], match[2]))
    literals = parts[::2]
    return [
        "".join(itertools.chain(*zip(literals, chosen, strict=False), literals[-1:]))
        for chosen in itertools.product(*choices)
    ]


def _numbers(first: str, last: str) -> list[str]:
    width = len(first) if first.startswith("0") or len(first) == len(last) else 0
    return [str(number).zfill(width) for number in range(int(first), int(last) + 1)]
