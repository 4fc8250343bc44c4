"""spaCy, with whichever of its English models is installed."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import MissingPackage
from mmcontrast.language.taggers import TAGGERS
from mmcontrast.language.taggers.base import Tagger
from mmcontrast.language.words import Part, Word

MODELS = ("en_core_web_lg", "en_core_web_md", "en_core_web_sm")  # the published benchmarks used the first
PARTS: dict[str, Part] = {
    "NOUN": "noun",
    "PROPN": "noun",
    "VERB": "verb",
    "ADJ": "adjective",
    "ADV": "adverb",
    "ADP": "preposition",
    "AUX": "auxiliary",
    "DET": "determiner",
    "NUM": "determiner",
}


@TAGGERS.register("spacy")
class Spacy(Tagger):
    """spaCy's tagger, which ARO and NegCLIP used; needs the package and one of its English models.

    Source: Honnibal et al. 2020, spaCy, doi:10.5281/zenodo.1212303.
    """

    @config
    class Config:
        """Nothing to choose."""

    @cached_property
    def _model(self) -> Any:
        try:
            import spacy
        except ImportError as error:
            raise MissingPackage("tagger 'spacy' needs spaCy: pip install spacy, and an English model.") from error
        for name in MODELS:
            if spacy.util.is_package(name):
                return spacy.load(name, exclude=["ner", "lemmatizer"])
        raise MissingPackage(f"tagger 'spacy' needs one of the models {', '.join(MODELS)}; none is installed.")

    @property
    def identity(self) -> str:
        """Model and version."""
        return f"spacy {self._model.meta['name']} {self._model.meta['version']}"

    def tag(self, caption: str) -> list[Word]:
        """Tag a caption; blanks are left out."""
        return [
            Word(token.text, PARTS.get(token.pos_, "other"), token.idx)
            for token in self._model(caption)
            if not token.is_space
        ]
