"""What every tagger offers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mmcontrast.language.taggers import TAGGERS
from mmcontrast.language.words import Word


class Tagger:
    """Words and marks of a caption with their parts of speech."""

    class Config:
        """Nothing to choose, unless a tagger says so."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def identity(self) -> str:
        """Name and version, or a digest of what it looks up: another identity may tag otherwise."""
        raise NotImplementedError

    def tag(self, caption: str) -> list[Word]:
        """Tag a caption; its words never overlap and stand in order."""
        raise NotImplementedError


@lru_cache(maxsize=8)
def build_tagger(name: str) -> Tagger:
    """Build a tagger with its defaults, once a process.

    Raises:
        ConfigError: no tagger has this name.
        MissingPackage: it needs a package that is not installed.
    """
    built: Tagger = TAGGERS.build(TAGGERS.get(name).Config())
    return built
