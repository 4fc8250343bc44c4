"""What a caption says about its objects: attributes, actions and positions, read off the parts of speech.

A stand-in for a scene-graph parser: a noun phrase ends at its last noun; adjectives and nouns before it are its
attributes; the verb or preposition between two noun phrases relates them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mmcontrast.language.taggers.base import build_tagger
from mmcontrast.language.words import Word


@dataclass(frozen=True)
class Relations:
    """Counts of one caption."""

    most: int  # relations and attributes of the object that has most of them
    actions: int  # verbs, without auxiliaries, that some object does or undergoes


def relations(caption: str) -> Relations:
    """Read a caption's relations."""
    return count_relations(build_tagger("hanta").tag(caption))


def count_relations(words: list[Word]) -> Relations:
    """Count the relations of tagged words."""
    per_object: Counter[int] = Counter()
    objects = actions = pending_attributes = 0
    link = ""  # what stands between the last object and the next: "", "action", "preposition"
    for place, word in enumerate(words):
        following = words[place + 1].part if place + 1 < len(words) else "other"
        if word.part == "adjective" or (word.part == "noun" and following == "noun"):
            pending_attributes += 1
        elif word.part == "verb" and following == "noun" and link == "" and pending_attributes == 0 and _ing(word):
            pending_attributes += 1  # "running water"
        elif word.part == "noun":
            objects += 1
            per_object[objects] += pending_attributes
            pending_attributes = 0
            if link and objects > 1:
                per_object[objects - 1] += 1
                per_object[objects] += 1
            link = ""
        elif word.part == "verb":
            if objects:
                actions += 1
                per_object[objects] += 0 if link == "action" else 1
                link = "action"
        elif word.part == "preposition" and link == "" and objects:
            link = "preposition"
    return Relations(most=max(per_object.values(), default=0), actions=actions)


def _ing(word: Word) -> bool:
    return word.text.lower().endswith("ing")
