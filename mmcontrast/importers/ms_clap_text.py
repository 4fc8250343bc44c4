"""MS-CLAP's text models, BERT and GPT-2, as folders that the ``hugging_face_text`` tower reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mmcontrast.errors import CheckpointError
from mmcontrast.importers.roberta import HEAD_WIDTH

END = " <|endoftext|>"  # what 2023 puts after every text
PADDING = "!"  # which 2023 declares to be GPT-2's padding, so that it never joins other letters
LAYER = re.compile(r"(?:encoder\.layer|h)\.(\d+)\.")


def text_settings(state: Mapping[str, Tensor], *, where: str) -> Any:
    """transformers' config of the text model, as far as shapes tell; the rest is that of BERT base or GPT-2.

    Args:
        state: names as in ``encoder.layer.0.attention.self.query.weight`` or ``h.0.attn.c_attn.weight``.

    Raises:
        CheckpointError: it is neither.
    """
    from transformers import BertConfig, GPT2Config

    layers = {int(found[1]) for name in state if (found := LAYER.match(name))}
    try:
        if "wte.weight" in state:
            words, width = state["wte.weight"].shape
            return GPT2Config(
                vocab_size=words,
                n_positions=len(state["wpe.weight"]),
                n_embd=width,
                n_layer=max(layers) + 1,
                n_head=max(1, width // HEAD_WIDTH),
                n_inner=len(state["h.0.mlp.c_proj.weight"]),
                bos_token_id=words - 1,
                eos_token_id=words - 1,
            )
        words, width = state["embeddings.word_embeddings.weight"].shape
        return BertConfig(
            vocab_size=words,
            hidden_size=width,
            num_hidden_layers=max(layers) + 1,
            num_attention_heads=max(1, width // HEAD_WIDTH),
            intermediate_size=len(state["encoder.layer.0.intermediate.dense.bias"]),
            max_position_embeddings=len(state["embeddings.position_embeddings.weight"]),
            type_vocab_size=len(state["embeddings.token_type_embeddings.weight"]),
        )
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"'{where}' holds neither BERT nor GPT-2 as its text model: {error}.") from error


def write_text_folder(folder: Path, settings: Any, tokenizer: Any) -> None:
    """Write config.json and the files of a tokenizer."""
    settings.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
