"""The lines of a card that tokenize are the tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmcontrast.export.parity import CAPTIONS
from mmcontrast.export.snippets import ids_snippet
from mmcontrast.tokenizers.hashed_words import HashedWords
from tests.export.parts import part_of


@pytest.mark.parametrize("stem_letters", [0, 4])
def test_the_cards_lines_give_the_ids_of_the_tokenizer(stem_letters: int, tmp_path: Path) -> None:
    config = HashedWords.Config(stem_letters=stem_letters)
    part = part_of("text_transformer", folder=tmp_path, tokenizer=config, context_length=9)
    for caption in CAPTIONS:
        names: dict[str, Any] = {"caption": caption}
        exec("\n".join(ids_snippet(part)), names)
        assert names["ids"] == HashedWords(config).encode(caption, context_length=9)
