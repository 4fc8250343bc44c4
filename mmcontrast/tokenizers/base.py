"""What every tokenizer offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmcontrast.errors import ConfigError, NeedsError
from mmcontrast.tokenizers.masking import Masking


class Tokenizer:
    """Text -> ids without padding.  Holds no weights and reads no network."""

    pad_id: int = 0  # what collation fills short rows with

    class Config:
        """Fields of the tokenizer; each subclass has its own."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def encode(self, text: str, *, context_length: int) -> list[int]:
        """Return at least one and at most ``context_length`` ids, start and end tokens included."""
        raise NotImplementedError

    def masking(self) -> Masking:
        """What to hide ids behind.

        Raises:
            ConfigError: the vocabulary has nothing for it.
        """
        raise ConfigError(f"the tokenizer '{self.config.registry_name}' has no id for a mask.")

    @property
    def size(self) -> int:
        """Ids from 0 on, of a tokenizer whose ids can be read back.

        Raises:
            NeedsError: they cannot.
        """
        raise unreadable()

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, without start, end and padding.

        Raises:
            NeedsError: ids of this tokenizer cannot be read back.
        """
        raise unreadable()


def unreadable() -> NeedsError:
    """What a tokenizer of hashes answers when it is asked for words."""
    return NeedsError(
        "the ids of this tokenizer cannot be read back as words, so that a decoder's captions cannot either: "
        "train with the tokenizer open_clip, hugging_face or sentence_piece."
    )
