"""Parts of speech, for filters and perturbations of English captions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from mmcontrast.errors import MissingPackage

Part = Literal["noun", "verb", "adjective", "adverb", "preposition", "auxiliary", "other"]
AUXILIARIES = frozenset(
    ("be", "am", "is", "are", "was", "were", "been", "being", "have", "has", "had", "having", "do", "does", "did")
    + ("will", "would", "can", "could")
)
PARTS: dict[str, Part] = {
    "NN": "noun",
    "NP": "noun",
    "VV": "verb",
    "AJ": "adjective",
    "AV": "adverb",
    "PR": "preposition",
}
WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class Word:
    """One word of a caption."""

    text: str
    part: Part
    start: int  # of the word in the caption, in characters


@lru_cache(maxsize=1)
def _model() -> Any:
    try:
        from HanTa import HanoverTagger
    except ImportError as error:
        raise MissingPackage("parts of speech need HanTa: pip install 'mmcontrast[pipelines]'.") from error
    return HanoverTagger.HanoverTagger("morphmodel_en.pgz")


def tag(caption: str) -> list[Word]:
    """Words and punctuation of a caption with their parts of speech, by HanTa's English model (BNC tags)."""
    found = list(WORD.finditer(caption))
    if not found:
        return []
    tagged = _model().tag_sent([match.group() for match in found])
    return [
        Word(match.group(), _part(match.group(), str(code)), match.start())
        for match, (_, _, code) in zip(found, tagged, strict=True)
    ]


def _part(text: str, code: str) -> Part:
    if text.lower() in AUXILIARIES or code == "VM0":
        return "auxiliary"
    return PARTS.get(code[:2], "other")
