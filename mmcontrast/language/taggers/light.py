"""The tagger that needs nothing: a lexicon of common words, endings, and a look at the neighbours."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from mmcontrast.config import config
from mmcontrast.language.assets import asset_text, read_asset
from mmcontrast.language.taggers import TAGGERS
from mmcontrast.language.taggers.base import Tagger
from mmcontrast.language.words import DETERMINERS, WORD, Part, Word

LEXICON = "english.json"
VERSION = 1  # of the rules
ADJECTIVE_ENDINGS = ("ous", "ful", "less", "ive", "able", "ible", "ish", "ical", "like", "most")
DOUBLED = frozenset("bdgmnprt")


@TAGGERS.register("light")
class Light(Tagger):
    """Lexicon, endings and neighbours: thousands of captions a second, good for captions, not for prose.

    A word is what the lexicon says; one that may be several things is settled by the words before and after it; an
    unknown word is an adverb or adjective by its ending, a verb form if a listed verb makes it, else a noun.
    """

    @config
    class Config:
        """Nothing to choose."""

    @property
    def identity(self) -> str:
        """Rules' version and the lexicon's digest."""
        return f"light {VERSION}, lexicon {hashlib.sha256(asset_text(LEXICON).encode()).hexdigest()[:12]}"

    def tag(self, caption: str) -> list[Word]:
        """Tag by lexicon, endings and neighbours."""
        found = [(match.group(), match.start()) for match in WORD.finditer(caption)]
        texts = [text.lower() for text, _ in found]
        options = [_options(text) for text in texts]
        for place, (text, following) in enumerate(zip(texts, texts[1:], strict=False)):
            if text in ("left", "right") and following == "of":
                options[place] = ("preposition",)
        words: list[Word] = []
        before: Part = "other"
        for place, (text, start) in enumerate(found):
            after = options[place + 1][0] if place + 1 < len(found) else None
            part = _settled(texts[place], options[place], before, after)
            words.append(Word(text, part, start))
            before = part
        return words


@lru_cache(maxsize=1)
def _lexicon() -> dict[str, tuple[Part, ...]]:
    """Word -> what it may be, likeliest first."""
    lists = read_asset(LEXICON)
    found: dict[str, list[Part]] = {}

    def add(words: object, part: Part) -> None:
        for word in words if isinstance(words, (list, set, frozenset)) else str(words).split():
            kinds = found.setdefault(word, [])
            if part not in kinds:
                kinds.append(part)

    add(DETERMINERS, "determiner")
    add(lists["auxiliaries"], "auxiliary")
    add(lists["prepositions"], "preposition")
    add(lists["other"], "other")
    add(lists["adverbs"], "adverb")
    add(lists["adjectives"], "adjective")
    add(lists["nouns"], "noun")
    for verb in lists["verbs"].split():
        add([verb, *_inflected(verb), *lists["irregular"].get(verb, "").split()], "verb")
    return {word: tuple(kinds) for word, kinds in found.items()}


def _inflected(verb: str) -> list[str]:
    """Regular forms: he ..s, ..ed, ..ing."""
    if verb.endswith("e") and not verb.endswith("ee"):
        return [verb + "s", verb + "d", verb[:-1] + "ing"]
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return [verb[:-1] + "ies", verb[:-1] + "ied", verb + "ing"]
    third = verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")
    short = len(verb) > 2 and verb[-1] in DOUBLED and verb[-2] in "aeiou" and verb[-3] not in "aeiou"
    stems = [verb, verb + verb[-1]] if short else [verb]
    return [third, *(stem + ending for stem in stems for ending in ("ed", "ing"))]


@lru_cache(maxsize=65536)
def _options(word: str) -> tuple[Part, ...]:
    """What a word may be by itself, likeliest first."""
    known = _lexicon().get(word)
    if known:
        return known
    if not word[:1].isalnum():
        return ("other",)
    if word.isdigit():
        return ("determiner",)
    if word.endswith("ly") and len(word) > 4:
        return ("adverb",)
    if word.endswith(ADJECTIVE_ENDINGS) and len(word) > 5:
        return ("adjective",)
    if word.endswith("ing") and len(word) > 5:
        return ("verb", "noun")
    if word.endswith("ed") and len(word) > 4 or "-" in word and word.endswith(("ed", "eyed", "sized")):
        return ("verb", "adjective")
    singular = _lexicon().get(word[:-1], ()) if word.endswith("s") else ()
    return ("noun", "verb") if singular and singular[0] == "verb" else ("noun",)


@lru_cache(maxsize=65536)
def _settled(word: str, options: tuple[Part, ...], before: Part, after: Part | None) -> Part:
    """Choose one by the part before and the likeliest part after; None behind the last word."""
    next_part: Part = after or "other"
    opened = before in ("determiner", "adjective")
    if options == ("noun",):  # "a lush green field": what no list knows, before an adjective
        listed = word in _lexicon()
        return "adjective" if before == "determiner" and next_part == "adjective" and not listed else "noun"
    if options == ("adjective",):
        ends = opened and next_part not in ("noun", "adjective", "verb")
        return "noun" if ends else "adjective"  # "a red square"
    if options == ("verb",):
        return _verb_form(word, opened, next_part)
    if "noun" in options and "adjective" in options:  # orange, light, front: adjectives before what they describe
        return "adjective" if next_part in ("noun", "adjective") and before != "noun" else "noun"
    if "noun" in options and "verb" in options:
        return _noun_or_verb(word, options, before, next_part)
    if "verb" in options and "adjective" in options:
        return "adjective" if next_part in ("noun", "adjective") and (opened or before != "noun") else "verb"
    if "preposition" in options and "adverb" in options:
        return "preposition" if after else "adverb"
    return options[0]


def _verb_form(word: str, opened: bool, next_part: Part) -> Part:
    """What is no noun by the lexicon: "a running dog", "a walk"."""
    names_thing = next_part in ("noun", "adjective")
    if not opened or (word.endswith("ing") and not names_thing):
        return "verb"
    return "adjective" if names_thing else "noun"


def _noun_or_verb(word: str, options: tuple[Part, ...], before: Part, next_part: Part) -> Part:
    if before in ("determiner", "adjective", "preposition"):
        return "noun"
    if word.endswith("ing"):
        return "verb" if before in ("noun", "auxiliary", "other") else "noun"
    if before == "noun" and next_part in ("determiner", "preposition", "adverb"):
        return "verb" if word.endswith("s") or options[0] == "verb" else "noun"
    return options[0] if before in ("auxiliary", "noun", "other") and options[0] == "verb" else "noun"
