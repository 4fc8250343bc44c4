"""Text augmentations: what each keeps and what it changes."""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcontrast.data.derivations.base import Original
from mmcontrast.data.derivations.edit_words import Edit, EditWords
from mmcontrast.data.derivations.repeat_words import RepeatWords

WORDS = [f"w{number}" for number in range(10)]


def derived(derivation: Any, text: str, seed: int = 0) -> list[str]:
    original = Original(value=text, view=lambda make_rng, **changes: None, captions=None)
    return str(derivation.derive(original, lambda: np.random.default_rng(seed))).split()


def test_words_are_repeated_behind_themselves_up_to_the_rate() -> None:
    extra = set()
    for seed in range(200):
        found = derived(RepeatWords(RepeatWords.Config()), " ".join(WORDS), seed)
        assert list(dict.fromkeys(found)) == WORDS
        assert all(count <= 2 for count in Counter(found).values())
        assert all(found[place + 1] == word for place, word in enumerate(found[:-1]) if found.index(word) == place
                   and found.count(word) == 2)  # fmt: skip
        extra.add(len(found) - len(WORDS))
    assert extra == {0, 1, 2, 3}  # 0.32 of ten words


@pytest.mark.parametrize("seed", range(20))
def test_each_edit_does_what_it_says(seed: int) -> None:
    text = " ".join(WORDS)
    deleted = derived(EditWords(EditWords.Config(edit="delete")), text, seed)
    assert len(deleted) == 7 and deleted == [word for word in WORDS if word in deleted]
    cut = derived(EditWords(EditWords.Config(edit="delete_span")), text, seed)
    start = next(place for place in range(8) if WORDS[:place] + WORDS[place + 3 :] == cut)
    assert 0 <= start <= 7
    for edit in ("shuffle", "reorder"):
        moved = derived(EditWords(EditWords.Config(edit=edit)), text, seed)
        assert Counter(moved) == Counter(WORDS)
    assert moved != WORDS
    # Reordering twice with the same draws puts the spans back.
    assert derived(EditWords(EditWords.Config(edit="reorder")), " ".join(moved), seed) == WORDS


@given(text=st.text(max_size=60), seed=st.integers(0, 10), edit=st.sampled_from(get_args(Edit)))
@settings(max_examples=60, deadline=None)
def test_any_text_keeps_at_least_a_word(text: str, seed: int, edit: Any) -> None:
    for derivation in (EditWords(EditWords.Config(edit=edit)), RepeatWords(RepeatWords.Config())):
        found = derived(derivation, text, seed)
        assert bool(found) == bool(text.split()) and set(found) <= set(text.split())
