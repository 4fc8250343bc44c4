"""Changed captions: never the caption itself, never the same meaning where that can be told."""

from __future__ import annotations

import numpy as np
import pytest

from mmcontrast.language.edits import Vocabulary, contrasted, replaced
from mmcontrast.language.events import TAUGHT, UNSEEN, reordered
from mmcontrast.language.negation import denied, hybrid, negated
from mmcontrast.language.order import WAYS, normal, perturbed
from mmcontrast.language.swaps import SwapKind, phrases, swapped
from mmcontrast.language.taggers.base import build_tagger
from mmcontrast.language.words import articled

CAPTIONS = (
    "A small dog chases a black cat left of the big red house.",
    "Two young guys with shaggy hair look at their hands while hanging out in the yard",
    "A little girl is holding an orange umbrella while walking down a wet street",
    "left arrow curving right",
    "a cat and a dog",
    "dog dog dog",
    "sun",
    "",
)
LIGHT = build_tagger("light")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("caption", CAPTIONS)
def test_orders_differ_from_the_caption_and_from_one_another_and_keep_the_words(caption: str) -> None:
    words = LIGHT.tag(normal(caption))
    source = [word.text for word in words]
    for seed in range(20):
        found = perturbed(words, list(WAYS), rng(seed))
        texts = [" ".join(source), *found.values()]
        assert len(set(texts)) == len(texts)
        assert all(sorted(text.split()) == sorted(source) for text in texts)
    assert bool(found) == (len(set(source)) > 2)


def test_each_way_of_aro_moves_what_it_may_move_alone() -> None:
    words = LIGHT.tag("a small dog chases a black cat near the old house")
    things = [word.part in ("noun", "adjective") for word in words]
    tokens = [word.text for word in words]
    for seed in range(10):
        found = {way: text.split() for way, text in perturbed(words, list(WAYS), rng(seed)).items()}
        kept = zip(tokens, found["nouns_and_adjectives"], things, strict=True)
        assert all(old == new for old, new, thing in kept if not thing)
        kept = zip(tokens, found["all_but_nouns_and_adjectives"], things, strict=True)
        assert all(old == new for old, new, thing in kept if thing)
        within = found["within_trigrams"]
        groups = [tokens[start : start + 3] for start in range(0, len(tokens), 3)]
        assert [sorted(within[start : start + 3]) for start in range(0, len(tokens), 3)] == [*map(sorted, groups)]
        assert all(" ".join(group) in " ".join(found["trigrams"]) for group in groups)


@pytest.mark.parametrize(
    ("kind", "caption", "expected"),
    [
        ("noun", "a dog near two cats", None),  # of different number
        ("noun", "a cat and a dog", None),  # means the same
        ("noun", "a violin then a flute", "a flute then a violin"),
        ("noun", "an owl holding a cup", "a cup holding an owl"),
        ("adjective", "A red ball on an old table", "An old ball on a red table"),
        ("verb", "a man walks while a dog barks", "a man barks while a dog walks"),
        ("relation", "a white dog chases a black cat", "a black cat chases a white dog"),
        ("relation", "a dog near a cat", None),
        ("relation", "A dog on a mat", "A mat on a dog"),
    ],
)
def test_swaps_exchange_two_of_a_kind(kind: SwapKind, caption: str, expected: str | None) -> None:
    assert swapped(caption, LIGHT.tag(caption), kind, rng()) == expected


def test_noun_phrases_end_in_nouns_and_a_determiner_opens_the_next() -> None:
    caption = "the big red house a dog sees"
    found = [caption[each.start : each.end] for each in phrases(LIGHT.tag(caption))]
    assert found == ["the big red house", "a dog"]


def test_contrasts_replace_one_word_by_another_of_its_set() -> None:
    assert contrasted("a Big dog", "attributes", rng()) == ("a Small dog", "size")
    made, name = contrasted("an orange cup", "attributes", rng()) or ("", "")
    assert name == "colour" and made.split()[0] == ("an" if made.split()[1][0] in "aeiou" else "a")
    assert contrasted("a cat left of a dog", "attributes", rng()) is None  # a relation, not a side
    assert contrasted("a cat left of a dog", "relations", rng()) == ("a cat right of a dog", "side")
    assert contrasted("a cat", "relations", rng()) is None


def test_replacements_come_from_the_set_and_avoid_what_may_be_right() -> None:
    tagged = [LIGHT.tag(text) for text in ("a dog", "an owl", "two cats", "a cat")]
    vocabulary = Vocabulary(tagged)
    dog = tagged[0][1]
    assert {replaced("a dog", dog, vocabulary, (), rng(seed)) for seed in range(20)} == {"an owl", "a cat"}
    assert {replaced("a dog", dog, vocabulary, ("cat",), rng(seed)) for seed in range(20)} == {"an owl", None} - {None}
    assert replaced("a dog", dog, vocabulary, ("cat", "owl"), rng()) is None


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A dog is running", "A dog is not running"),
        ("a dog barks", "a dog never barks"),
        ("a dog running in a park", "a dog not running in a park"),
        ("A black dog", "No black dog"),
        ("beetle", "no beetle"),
        ("a dog without a tail", None),
        ("then", None),
    ],
)
def test_a_negation_denies_what_is_said_first(caption: str, expected: str | None) -> None:
    assert negated(caption, LIGHT.tag(caption)) == expected


def test_denied_things_lose_their_article() -> None:
    assert (denied("a dog"), denied("cats"), hybrid("an owl", "a cat")) == ("no dog", "no cats", "an owl but no cat")
    assert [articled(name) for name in ("owl", "the sea", "echo drops", "glass")] == [
        "an owl",
        "the sea",
        "echo drops",
        "a glass",
    ]


def test_events_in_another_order_never_say_the_same() -> None:
    same = {"a then b", "b after a", "a before b", "a followed by b", "first a, later b", "b preceded by a"}
    for connective in (*TAUGHT, *UNSEEN):
        caption = connective.say("a", "b")
        made = {reordered(caption, rng(seed)) for seed in range(20)}
        if caption.startswith("first"):
            assert made == {None}  # no connective between the events
        elif connective.order == "sequence":
            assert len(made) == 3 and not made & same
        else:
            assert made == {"a before b", "a after b"}
    assert reordered("a dog barks", rng()) is None
    assert reordered("a dog then a dog", rng()) is None
    assert reordered("A dog barks then a cat meows.", rng()) in (
        "A cat meows then a dog barks.",
        "A dog barks after a cat meows.",
        "A dog barks while a cat meows.",
    )


@pytest.mark.parametrize(
    "said",
    ["a unicorn", "an hourglass", "an umbrella", "a one-way street", "an uninteresting day", "a euro", "an owl"],
)
def test_articles_go_by_sound(said: str) -> None:
    assert articled(said.partition(" ")[2]) == said
