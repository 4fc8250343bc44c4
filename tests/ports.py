"""Ports for processes that tests start."""

from __future__ import annotations

import random
import socket

# Below Linux's ephemeral ports: no connection of another process takes one between its choice and its use.
FIRST, LAST = 20_000, 32_000


def free_ports(number: int) -> list[int]:
    """Different ports that nobody listens on and that no connection is given."""
    draw, found = random.SystemRandom(), set[int]()
    while len(found) < number:
        with socket.socket() as probe:
            port = draw.randrange(FIRST, LAST)
            try:
                probe.bind(("", port))
            except OSError:  # taken: the next draw
                continue
            found.add(port)
    return sorted(found)


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
