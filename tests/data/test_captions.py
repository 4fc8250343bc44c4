"""Choice of captions, and made-up words in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmcontrast.data.transforms.captions import Captions, captions_of, keywords_of, named, weighted_captions
from mmcontrast.data.transforms.text import Keywords, TextTransform, train_text, with_unknown_words
from mmcontrast.errors import SkipSample


def test_made_up_words_replace_about_their_share_and_leave_one() -> None:
    rng = np.random.default_rng(0)
    kept = [[new == old for new, old in zip(with_unknown_words("a b c d", 0.5, rng).split(), "abcd", strict=True)]
            for _ in range(2000)]  # fmt: skip
    assert all(any(row) for row in kept)
    # One word of a caption that lost all four is kept: the expected share is 1/2 + 1/16 * 1/4.
    assert abs(np.mean(kept) - (0.5 + 1 / 64)) < 0.02
    assert with_unknown_words("alone", 1.0, rng) == "alone"


def test_without_made_up_words_no_random_number_more_is_drawn() -> None:
    first, second = np.random.default_rng(1), np.random.default_rng(1)
    captions = Captions(["one", "two", "three"])
    plain = [train_text(captions, TextTransform(), lambda: first) for _ in range(50)]
    mixed = [train_text(captions, TextTransform(unknown_words=0.0), lambda: second) for _ in range(50)]
    assert plain == mixed and first.random() == second.random()
    assert {*plain} == {*captions.texts}


def test_made_up_words_differ_each_time() -> None:
    rng = np.random.default_rng(2)
    config = TextTransform(choice="first", unknown_words=0.9)
    words = {word for _ in range(20) for word in train_text(Captions(["red car"]), config, lambda: rng).split()}
    assert {"red", "car"} <= words and len(words) > 10


def drawn(captions: Captions, *, times: int = 400, **fields: Any) -> list[str]:
    rng = np.random.default_rng(0)
    return [train_text(captions, TextTransform(**fields), lambda: rng) for _ in range(times)]


def test_fields_share_their_weight_among_their_captions() -> None:
    info = {"human": "h", "alt": ["a", "b"], "none": None}
    captions = weighted_captions(info, {"human": 2.0, "alt": 2.0, "none": 9.0, "gone": 9.0}, key="k", max_bytes=99)
    assert captions == Captions(["h", "a", "b"], [2.0, 1.0, 1.0])
    texts = drawn(captions, times=4000, choice="weighted", fields={"human": 2.0, "alt": 2.0})
    share = {text: texts.count(text) / len(texts) for text in {*texts}}
    assert share.keys() == {"h", "a", "b"}
    assert abs(share["h"] - 0.5) < 0.03 and abs(share["a"] - 0.25) < 0.03  # of 4,000: 3.8 and 4.4 deviations


def test_first_and_concatenate_leave_nothing_to_chance() -> None:
    captions = Captions(["one", "two"])
    assert {*drawn(captions, choice="first")} == {"one"}
    assert {*drawn(captions, choice="concatenate", separator=". ")} == {"one. two"}
    assert {*drawn(captions, choice="concatenate", templates=("say {}",))} == {"say one two"}


def test_templates_are_filled_and_their_files_read() -> None:
    assert {*drawn(Captions(["cat"]), templates=("a {}", "the {}!"))} == {"a cat", "the cat!"}
    assert {*drawn(Captions(["a {} b"]), templates=("x {}",))} == {"x a {} b"}
    photos = {*drawn(Captions(["cat"]), templates=("package:prompts/photo_ensemble.json",))}
    assert len(photos) > 5 and all("cat" in photo for photo in photos)


def test_keywords_become_captions_as_often_as_asked() -> None:
    keywords = Keywords(field="tags", templates=("the sounds of {}",), most=2, probability=0.25)
    texts = drawn(Captions(["c"], None, ("dog", "bark", "rain")), times=2000, keywords=keywords)
    made = [text for text in texts if text != "c"]
    assert abs(len(made) / len(texts) - 0.25) < 0.04
    assert {*made} == {f"the sounds of {a} and {b}" for a in ("dog", "bark", "rain") for b in ("dog", "bark", "rain")
                       if a != b}  # fmt: skip
    assert {*drawn(Captions([], None, ("dog",)), keywords=keywords)} == {"the sounds of dog"}
    assert drawn(Captions(["c"], None, ()), times=3, keywords=keywords) == ["c"] * 3


def test_what_is_stored_is_read_or_refused_by_name() -> None:
    assert keywords_of("dog, bark,,", key="k", max_bytes=99) == ("dog", "bark")
    assert keywords_of(["dog"], key="k", max_bytes=99) == ("dog",) and keywords_of(None, key="k", max_bytes=9) == ()
    assert named(3, {"3": "cat"}, key="k") == "cat" == named(" 3\n", {"3": "cat"}, key="k")
    for read in (
        lambda: keywords_of([3], key="some-key", max_bytes=99),
        lambda: keywords_of(["x" * 100], key="some-key", max_bytes=99),
        lambda: named(4, {"3": "cat"}, key="some-key"),
        lambda: captions_of(["", " "], key="some-key", max_bytes=99),
        lambda: weighted_captions({"a": 3}, {"a": 1.0}, key="some-key", max_bytes=99),
    ):
        with pytest.raises(SkipSample, match="some-key"):
            read()
