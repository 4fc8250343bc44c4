"""HanTa's English model, a Hanover tagger of 14 MB in pure Python."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import MissingPackage
from mmcontrast.language.taggers import TAGGERS
from mmcontrast.language.taggers.base import Tagger
from mmcontrast.language.words import WORD, Part, Word

AUXILIARIES = frozenset(
    ("be", "am", "is", "are", "was", "were", "been", "being", "have", "has", "had", "having", "do", "does", "did")
    + ("will", "would", "can", "could")
)
PARTS: dict[str, Part] = {  # the first letters of the British National Corpus' tags
    "NN": "noun",
    "NP": "noun",
    "VV": "verb",
    "AJ": "adjective",
    "AV": "adverb",
    "PR": "preposition",
    "AT": "determiner",
    "DT": "determiner",
    "DP": "determiner",
    "CR": "determiner",
}


@TAGGERS.register("hanta")
class Hanta(Tagger):
    """Morphology and context, some 250 captions a second: pip install HanTa.

    Source: Wartena 2019, A probabilistic morphology model for German lemmatization, KONVENS.
    """

    @config
    class Config:
        """Nothing to choose."""

    @cached_property
    def _model(self) -> Any:
        try:
            from HanTa import HanoverTagger
        except ImportError as error:
            raise MissingPackage("tagger 'hanta' needs HanTa: pip install 'mmcontrast[pipelines]'.") from error
        return HanoverTagger.HanoverTagger("morphmodel_en.pgz")

    @property
    def identity(self) -> str:
        """The package's version."""
        assert self._model is not None
        from importlib.metadata import version

        return f"hanta {version('HanTa')}, morphmodel_en"

    def tag(self, caption: str) -> list[Word]:
        """Tag all words of a caption together."""
        found = list(WORD.finditer(caption))
        if not found:
            return []
        tagged = self._model.tag_sent([match.group() for match in found])
        return [
            Word(match.group(), _part(match.group(), str(code)), match.start())
            for match, (_, _, code) in zip(found, tagged, strict=True)
        ]


def _part(text: str, code: str) -> Part:
    if text.lower() in AUXILIARIES or code == "VM0":
        return "auxiliary"
    return PARTS.get(code[:2], "other")
