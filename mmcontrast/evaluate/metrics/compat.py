"""Peers whose quirks a metric can reproduce by name, so that a published number can be checked.

Without a name, metrics follow their definition: a tie with a wrong answer is wrong, recall at k asks for any right
answer, average precision sorts.  A result made with a name says so, and is never the primary one.
"""

from __future__ import annotations

from typing import Literal

from mmcontrast.errors import ConfigError, did_you_mean

Compat = Literal[
    "clip_benchmark", "open_clip", "laion", "mei", "aro", "sugarcrepe", "mteb", "mmvp", "negbench"
]  # fmt: skip

QUIRKS: dict[str, str] = {
    "clip_benchmark": (
        "choice: the first of equal scores wins, so a constant model scores 1 where the right text comes first, and "
        "one picture is always the right picture; classification and retrieval: torch.topk's order among equal "
        "scores; multi-label: a class without positives counts as 0, and equal scores keep torch.sort's order"
    ),
    "open_clip": "retrieval: one right answer a query; torch.argsort's order among equal scores",
    "laion": "retrieval: average precision at 10 takes the right captions in file order, not by rank; it can exceed 1",
    "mei": "retrieval: average precision at 10 divides by the number of right answers, also when that is over 10",
    "aro": "choice: the first of equal scores wins",
    "sugarcrepe": "choice: strictly greater, as here",
    "mmvp": "choice: the second of two pictures wins when both score alike",
    "negbench": "choice: the first of equal scores wins, and right texts stand anywhere",
    "mteb": (
        "choice: the first of equal scores wins, and picture k must match text k over all texts, so the picture score "
        "of one picture and several texts is always 0"
    ),
}


def check_compat(name: str | None, known: tuple[str, ...], *, metric: str) -> None:
    """Refuse a peer that has no quirk of its own in this metric.

    Raises:
        ConfigError: names the peers that have.
    """
    if name is not None and name not in known:
        raise ConfigError(
            f"compat '{name}' changes nothing in {metric}.{did_you_mean(name, known)} Known: {', '.join(known)}."
        )
