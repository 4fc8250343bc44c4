"""Taggers: every word in its place, and parts of speech as one reads them."""

from __future__ import annotations

import importlib.util

import pytest

from mmcontrast.errors import ConfigError, MissingPackage
from mmcontrast.language.taggers import TAGGERS
from mmcontrast.language.taggers.base import build_tagger

CAPTION = "A little girl is holding an orange umbrella, while walking down a wet street."


@pytest.mark.parametrize("name", ["light", "hanta"])
def test_words_stand_where_the_caption_has_them(name: str) -> None:
    if name == "hanta":
        pytest.importorskip("HanTa")
    tagger = build_tagger(name)
    words = tagger.tag(CAPTION)
    assert [CAPTION[word.start : word.end] for word in words] == [word.text for word in words]
    assert "".join(word.text for word in words) == CAPTION.replace(" ", "")
    parts = {word.text: word.part for word in words}
    assert {text for text, part in parts.items() if part == "noun"} == {"girl", "umbrella", "street"}
    assert (parts["little"], parts["wet"], parts["is"]) == ("adjective", "adjective", "auxiliary")
    assert tagger.tag("") == [] and tagger.identity.startswith(name)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a red square", "determiner adjective noun"),
        ("a square table", "determiner adjective noun"),
        ("an orange", "determiner noun"),
        ("a cat left of a dog", "determiner noun preposition preposition determiner noun"),
        ("a zorb left of a dog", "determiner noun preposition preposition determiner noun"),
        ("left arrow", "adjective noun"),
        ("a man walks quickly", "determiner noun verb adverb"),
        ("a walk in the park", "determiner noun preposition determiner noun"),
        ("a running dog barks", "determiner adjective noun verb"),
        ("a lush green field", "determiner adjective adjective noun"),
        ("zorbs frobbing two blicky gizmos", "noun verb determiner noun noun"),
    ],
)
def test_the_light_tagger_settles_words_by_their_neighbours(caption: str, expected: str) -> None:
    assert " ".join(word.part for word in build_tagger("light").tag(caption)) == expected


def test_unknown_taggers_are_named_and_missing_packages_too() -> None:
    assert TAGGERS.names() == ["hanta", "light", "spacy"]
    with pytest.raises(ConfigError, match="no tagger is named 'spacey'. Did you mean 'spacy'"):
        build_tagger("spacey")
    if importlib.util.find_spec("spacy") is None:
        with pytest.raises(MissingPackage, match="tagger 'spacy' needs spaCy"):
            build_tagger("spacy").tag("a dog")
