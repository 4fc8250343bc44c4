"""Captions by language."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from data_pipelines.filters import FILTERS
from data_pipelines.filters.base import Filter, Value
from mmcontrast.config import NonNegativeCount, config
from mmcontrast.errors import MissingPackage


@FILTERS.register("language")
class Language(Filter):
    """Keep captions in some languages, as py3langid's n-gram model says.

    A few words say little: captions with fewer letters than ``min_letters`` pass unjudged, as "short".

    Source: Lui & Baldwin 2012, "langid.py: An Off-the-shelf Language Identification Tool", ACL demos.
    """

    scope = "caption"
    reads = ("text",)
    unit = "language"

    @config
    class Config:
        """Languages."""

        keep: tuple[str, ...] = ("en",)  # ISO 639-1 codes
        among: tuple[str, ...] = ()  # languages considered at all; empty: all 97
        min_letters: NonNegativeCount = 12  # shorter captions pass

    @cached_property
    def identifier(self) -> Any:
        """The model that the package carries."""
        try:
            from py3langid.langid import MODEL_FILE, LanguageIdentifier
        except ImportError as error:
            raise MissingPackage("filter 'language' needs py3langid: pip install 'mmcontrast[pipelines]'.") from error
        made = LanguageIdentifier.from_model_file(MODEL_FILE)
        if self.config.among:
            made.set_languages([*self.config.among])
        return made

    def measure_caption(self, caption: str) -> Value:
        """The likeliest language."""
        if sum(letter.isalpha() for letter in caption) < self.config.min_letters:
            return "short"
        return str(self.identifier.classify(caption)[0])

    def reason(self, value: Value, settled: float | None) -> str | None:
        """Another language."""
        return None if value == "short" or value in self.config.keep else "caption in another language"
