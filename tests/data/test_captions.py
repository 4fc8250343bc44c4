"""Choice of captions, and made-up words in them."""

from __future__ import annotations

import numpy as np

from mmcontrast.data.transforms.text import TextTransform, train_text, with_unknown_words


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
    captions = ["one", "two", "three"]
    plain = [train_text(captions, TextTransform(), lambda: first) for _ in range(50)]
    mixed = [train_text(captions, TextTransform(unknown_words=0.0), lambda: second) for _ in range(50)]
    assert plain == mixed and first.random() == second.random()
    assert {*plain} == {*captions}


def test_made_up_words_differ_each_time() -> None:
    rng = np.random.default_rng(2)
    config = TextTransform(choice="first", unknown_words=0.9)
    words = {word for _ in range(20) for word in train_text(["red car"], config, lambda: rng).split()}
    assert {"red", "car"} <= words and len(words) > 10
