"""Text to token ids."""

from __future__ import annotations

from mmcontrast.registry import Registry

TOKENIZERS = Registry("tokenizer", "mmcontrast.tokenizers")
