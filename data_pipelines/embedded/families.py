"""Concept families: which captions may not be split between training and held-out data.

Two captions that differ only in who is drawn ("man judge", "woman judge") or in which way the figure faces show
nearly the same picture.  If one trained and the other were held out, the held-out score would measure memory.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

HELD_OUT_FOLD = 0  # the unseen concepts
RESERVED_FOLD = 1  # packed nowhere, so that a later test set can still be made of it
NUM_FOLDS = 10

_PERSON_WORDS = frozenset(
    ("man", "woman", "person", "men", "women", "people", "boy", "girl", "child", "older", "old", "mr", "mrs", "mx")
)
_SAME_FIGURE = {"mermaid": "merperson", "merman": "merperson", "princess": "prince", "santa": "claus"}
_FACING = re.compile(r":\s*facing (right|left)$")


def plain_words(text: str) -> list[str]:
    """Split into lower-case words of ASCII letters and digits, accents folded ("piñata" -> "pinata")."""
    folded = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    return re.findall(r"[a-z0-9]+", folded.lower().replace("'", ""))


def squeezed(text: str) -> str:
    """Letters and digits only: the form under which icon names and captions are compared."""
    return "".join(plain_words(text))


def family(caption: str) -> str:
    """Name the family of a caption: its words without man / woman / person words and without the facing.

    A caption of person words alone belongs to the family "person".
    """
    kept: list[str] = []
    for word in plain_words(_FACING.sub("", caption.lower())):
        word = _SAME_FIGURE.get(word, word)
        if word not in _PERSON_WORDS and word not in kept:
            kept.append(word)
    return " ".join(kept) or "person"


def fold(family_name: str) -> int:
    """Fold 0 to 9 of a family, the same on every machine: sha1 of the name, modulo 10."""
    return int(hashlib.sha1(family_name.encode("utf-8")).hexdigest(), 16) % NUM_FOLDS


def shuffle_order(key: str) -> str:
    """Sort key that puts rows into a fixed order unrelated to style, group or name."""
    return hashlib.sha1(f"order/{key}".encode()).hexdigest()
