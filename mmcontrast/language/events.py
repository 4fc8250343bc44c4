"""The grammar of events in time: one before another, after another, while another; and captions read back by it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

Order = Literal["sequence", "overlap"]  # one after the other, or at once


@dataclass(frozen=True)
class Connective:
    """How a caption joins two events."""

    template: str  # with {first} and {second}: what is heard first, or is named first where both are heard at once
    order: Order

    def say(self, first: str, second: str) -> str:
        """The caption of two events."""
        return self.template.format(first=first, second=second)


# The prompts of TeminAL: before, after, while; with "then", of the quickstart.
TAUGHT = (
    Connective("{first} before {second}", "sequence"),
    Connective("{second} after {first}", "sequence"),
    Connective("{first} then {second}", "sequence"),
    Connective("{first} while {second}", "overlap"),
)
# Held out of training, for probes of whether the meaning was learnt or the word.
UNSEEN = (
    Connective("{first} followed by {second}", "sequence"),
    Connective("first {first}, later {second}", "sequence"),
    Connective("{second} preceded by {first}", "sequence"),
    Connective("{first} at the same time as {second}", "overlap"),
)
_LINKS = {  # word between two events -> its kind; "reversed" names the later event first
    "followed by": "sequence",
    "and then": "sequence",
    "then": "sequence",
    "before": "sequence",
    "preceded by": "reversed",
    "after": "reversed",
    "at the same time as": "overlap",
    "accompanied by": "overlap",
    "while": "overlap",
    "as": "overlap",
}
_SENTENCE = re.compile(
    r"^(?P<one>.+?)(?P<comma>[,;]?)\s+(?P<link>"
    + "|".join(re.escape(link) for link in sorted(_LINKS, key=len, reverse=True))
    + r")\s+(?P<two>.+?)(?P<end>[.!]?)$",
    flags=re.I,
)


def reordered(caption: str, rng: np.random.Generator) -> str | None:
    """The caption of another order in time; None where no connective joins two different events.

    A sequence is turned round, by its events or by its connective, or said to be at once; what is at once is said to
    be a sequence.  No result says what the caption says in other words.

    Source: Ghosh et al. 2024, CompA, arXiv:2310.08753, whose negatives reverse a sequence or change its operator.
    """
    found = _SENTENCE.match(caption.strip())
    if found is None or found["one"].lower() == found["two"].lower():
        return None
    one, two, link = found["one"], found["two"], found["link"].lower()
    if one[:1].isupper() and not one[1:2].isupper():
        one = one[:1].lower() + one[1:]
    kind = _LINKS[link]
    if kind == "overlap":
        options = [f"{one} before {two}", f"{one} after {two}"]
    else:
        opposite = "after" if kind == "sequence" else "before"
        options = [f"{two}{found['comma']} {link} {one}", f"{one} {opposite} {two}", f"{one} while {two}"]
    made = options[int(rng.integers(len(options)))] + found["end"]
    return made[:1].upper() + made[1:] if caption.strip()[:1].isupper() else made
