"""Any tokenizer of transformers, from a local folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError, MissingPackage
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.base import Tokenizer
from mmcontrast.tokenizers.masking import Masking

MAX_CHARACTERS = 20_000  # of a text; more could not fit any context


@TOKENIZERS.register("hugging_face")
class HuggingFace(Tokenizer):
    """``AutoTokenizer`` of a local folder; nothing is downloaded and no code from the folder runs.

    Ids are shifted up by one, so that 0 is free to be the padding of every text tower here.
    """

    @config
    class Config:
        """Fields of the tokenizer."""

        folder: Path  # holds tokenizer.json or the files of a slow tokenizer
        suffix: str = ""  # put after every text, and kept where one is cut: MS-CLAP 2023's " <|endoftext|>"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise MissingPackage(
                "the hugging_face tokenizer needs transformers: pip install 'mmcontrast[hf]'."
            ) from error
        if not config.folder.is_dir():
            raise ConfigError(f"no tokenizer folder at '{config.folder}'.")
        self._inner = AutoTokenizer.from_pretrained(str(config.folder), local_files_only=True, trust_remote_code=False)
        self._suffix: str = config.suffix
        if self._suffix and self._inner.num_special_tokens_to_add():
            raise ConfigError(f"suffix: the tokenizer in '{config.folder}' puts tokens of its own after every text.")

    def encode(self, text: str, *, context_length: int) -> list[int]:
        """Return the ids with special tokens, each plus one."""
        # Half of a surrogate pair, which web text holds now and then, is no text to the package below.
        text = text[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
        ids = self._inner(text + self._suffix, truncation=True, max_length=context_length)["input_ids"]
        if self._suffix and len(ids) == context_length:  # perhaps cut
            end = self._inner(self._suffix)["input_ids"][-context_length:]
            ids = ids[: context_length - len(end)] + end
        return [each + 1 for each in ids] or [1]

    def masking(self) -> Masking:
        """Behind the tokenizer's own mask; its special tokens are never hidden."""
        return self._masking

    @cached_property
    def _masking(self) -> Masking:  # asked for at every caption
        if self._inner.mask_token_id is None:
            raise ConfigError(f"the tokenizer in '{self.config.folder}' has no mask token. Use one of a masked model.")
        special = frozenset(each + 1 for each in self._inner.all_special_ids)
        return Masking(self._inner.mask_token_id + 1, special, len(self._inner))

    @property
    def size(self) -> int:
        """The inner tokenizer's ids, and the padding."""
        return len(self._inner) + 1

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids without special tokens."""
        return str(self._inner.decode([each - 1 for each in ids if each > 0], skip_special_tokens=True)).strip()
