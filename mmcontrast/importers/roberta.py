"""RoBERTa as a folder that the ``hugging_face_text`` tower reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mmcontrast.errors import CheckpointError

ROBERTA_FIELDS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
)
HEAD_WIDTH = 64  # of every published RoBERTa
LAYER = re.compile(r"encoder\.layer\.(\d+)\.")


def write_roberta(folder: Path, fields: Mapping[str, Any], tokenizer: Any) -> None:
    """Write config.json and the files of a tokenizer."""
    from transformers import RobertaConfig

    RobertaConfig(**fields).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def roberta_sizes(state: Mapping[str, Tensor], *, where: str) -> dict[str, Any]:
    """RoBERTa's config, as far as shapes tell; the rest is roberta-base's.

    Args:
        state: names as in ``encoder.layer.0.attention.self.query.weight``.

    Raises:
        CheckpointError: it is no RoBERTa.
    """
    try:
        words, places = (state[f"embeddings.{of}_embeddings.weight"] for of in ("word", "position"))
        kinds, inside = (
            state["embeddings.token_type_embeddings.weight"],
            state["encoder.layer.0.intermediate.dense.bias"],
        )
    except KeyError as error:
        raise CheckpointError(f"'{where}' holds no RoBERTa: {error} is not there.") from error
    layers = {int(found[1]) for name in state if (found := LAYER.match(name))}
    return {
        "vocab_size": len(words),
        "hidden_size": words.shape[1],
        "num_hidden_layers": max(layers) + 1,
        "num_attention_heads": max(1, words.shape[1] // HEAD_WIDTH),
        "intermediate_size": len(inside),
        "max_position_embeddings": len(places),
        "type_vocab_size": len(kinds),
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }
