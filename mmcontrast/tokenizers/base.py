"""What every tokenizer offers."""

from __future__ import annotations

from typing import Any

from mmcontrast.errors import ConfigError
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
