"""Any SentencePiece model, from a local file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmcontrast.config import config
from mmcontrast.errors import ConfigError, MissingPackage
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.base import Tokenizer
from mmcontrast.tokenizers.masking import Masking

MAX_CHARACTERS = 20_000  # of a text; more could not fit any context
PIECE_CHARACTERS = 64  # longer than pieces are in practice: what lies beyond could not be reached by any id


@TOKENIZERS.register("sentence_piece")
class SentencePiece(Tokenizer):
    """Pieces of a ``.model`` file; nothing is downloaded.

    Ids are shifted up by one, so that 0 is free to be the padding of every text tower here.

    Source: Kudo and Richardson 2018, arXiv:1808.06226.
    """

    @config
    class Config:
        """Fields of the tokenizer."""

        file: Path  # the .model file
        start: bool = False  # begin with the model's start id, where it has one
        end: bool = True  # end with the model's end id, as T5's and SigLIP's towers read it
        lower_case: bool = False  # before the model's own normalisation

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError as error:
            raise MissingPackage(
                "the sentence_piece tokenizer needs sentencepiece: pip install 'mmcontrast[hf]'."
            ) from error
        if not config.file.is_file():
            raise ConfigError(f"no SentencePiece model at '{config.file}'.")
        try:
            self._inner = SentencePieceProcessor(model_file=str(config.file))
        except (OSError, RuntimeError) as error:
            raise ConfigError(f"'{config.file}' is no SentencePiece model: {error}") from error
        for name, asked, place in (
            ("start", config.start, self._inner.bos_id()),
            ("end", config.end, self._inner.eos_id()),
        ):
            if asked and place < 0:
                raise ConfigError(f"'{config.file}' has no {name} id. Set {name}: false.")

    def encode(self, text: str, *, context_length: int) -> list[int]:
        """Return start, pieces and end, each plus one; a long text is cut, and its last id is the end."""
        # Half of a surrogate pair, which web text holds now and then, is no text to the package below.
        text = (
            text[: min(MAX_CHARACTERS, PIECE_CHARACTERS * context_length)].encode("utf-8", "replace").decode("utf-8")
        )
        pieces = self._inner.encode(text.lower() if self.config.lower_case else text)
        start = [self._inner.bos_id()] if self.config.start else []
        end = [self._inner.eos_id()] if self.config.end else []
        ids = [*start, *pieces][: max(0, context_length - len(end))] + end
        return [each + 1 for each in ids] or [self._inner.unk_id() + 1]

    def masking(self) -> Masking:
        """Behind the id of unknown pieces: a model without a mask has no better one."""
        ends = frozenset(each + 1 for each in (self._inner.bos_id(), self._inner.eos_id()) if each >= 0)
        return Masking(self._inner.unk_id() + 1, ends, self._inner.vocab_size())

    @property
    def size(self) -> int:
        """Pieces, and the padding."""
        return int(self._inner.get_piece_size()) + 1

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids without start and end."""
        return str(self._inner.decode([each - 1 for each in ids if each > 0])).strip()
