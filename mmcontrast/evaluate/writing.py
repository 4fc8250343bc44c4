"""Captions that a model writes itself, by the decoder that its objective ``captioning`` has trained (CoCa, CapPa)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from mmcontrast.data.collate import stacked_sounds
from mmcontrast.data.transforms.clip import heard
from mmcontrast.errors import ConfigError, NoDecoder
from mmcontrast.evaluate.base import Encoder
from mmcontrast.evaluate.bench import Bench, Rows
from mmcontrast.evaluate.encoder import TowerEncoder
from mmcontrast.model import modality_of
from mmcontrast.objectives.captioning import Captioning
from mmcontrast.specs import AudioSpec
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.base import Tokenizer
from mmcontrast.types import map_values

ROWS = 16  # captions written at once: a decoder's logits are as wide as its vocabulary


def written(
    bench: Bench, source: str, where: dict[str, str], modality: str, *, decoder: str, beams: int, longest: int
) -> tuple[Rows, dict[str, list[str]]]:
    """Rows of a source that decode, and the caption that each encoder writes of each.

    Args:
        decoder: name of the run's objective.

    Raises:
        NoDecoder: the model has none of that name for that modality.
        ConfigError: the decoder's vocabulary is smaller than its tokenizer's.
    """
    decoder_of(bench.encoders["trained"], decoder, modality)
    rows = bench.rows(source, where)
    rows.check_modality(modality)

    def write(encoder: Encoder, items: list[Any]) -> list[str]:
        return captions(encoder, modality, items, decoder=decoder, beams=beams, longest=longest)

    parts = bench.of_blocks(rows, modality, write)
    return rows, {who: [caption for part in each for caption in part] for who, each in parts.items()}


@torch.inference_mode()
def captions(
    encoder: Encoder, modality: str, items: Sequence[Any], *, decoder: str, beams: int, longest: int
) -> list[str]:
    """Write a caption of each picture or sound; of a sound that is longer than the window, of its first window."""
    tower, objective, tokenizer = decoder_of(encoder, decoder, modality)
    found: list[str] = []
    for start in range(0, len(items), ROWS):
        ids = _ids(tower, objective, modality, items[start : start + ROWS], beams=beams, longest=longest)
        found += [tokenizer.decode([each for each in row if each >= 0]) for row in ids.tolist()]
    return found


def decoder_of(encoder: Encoder, name: str, modality: str) -> tuple[TowerEncoder, Captioning, Tokenizer]:
    """The encoder of towers, its objective of that name, and the tokenizer that reads ids back.

    Raises:
        NoDecoder: the model has none of that name, or one for another modality.
        NeedsError: ids of the tokenizer cannot be read back.
        ConfigError: the decoder's vocabulary is smaller than its tokenizer's: ids were folded.
    """
    if not isinstance(encoder, TowerEncoder) or name not in encoder.model.objectives:
        known = list(encoder.model.objectives) if isinstance(encoder, TowerEncoder) else []
        there = f"its decoders: {', '.join(known)}" if known else "it has none: exports and models of others do not"
        raise NoDecoder(f"the model has no decoder '{name}' that writes captions; {there}")
    objective = encoder.model.objectives[name]
    assert isinstance(objective, Captioning)
    if modality_of(objective.config.column) != modality:
        raise NoDecoder(f"the decoder '{name}' writes of '{objective.config.column}', not of {modality}")
    tokenizer = TOKENIZERS.build(encoder.spec(modality_of(objective.config.text)).tokenizer)
    if tokenizer.size > objective.config.vocabulary:
        raise ConfigError(
            f"the decoder '{name}' knows {objective.config.vocabulary:,} tokens, its tokenizer {tokenizer.size:,}: "
            f"ids were folded, and cannot be read back. Train with objectives.{name}.vocabulary={tokenizer.size}."
        )
    return encoder, objective, tokenizer


def _ids(
    encoder: TowerEncoder, objective: Captioning, modality: str, items: Sequence[Any], *, beams: int, longest: int
) -> Int[Tensor, "R T"]:
    spec = encoder.spec(modality)
    if isinstance(spec, AudioSpec):
        values = stacked_sounds(spec, [heard(item, spec)[0] for item in items])
    else:
        values = encoder.stack(modality, items)
    features = encoder.model.towers[modality](map_values(values, lambda tensor: tensor.to(encoder.device)))
    assert features.tokens is not None, "a run whose objective reads tokens has a tower that returns them"
    real = features.token_mask
    if real is None:
        real = torch.ones(features.tokens.shape[:2], dtype=torch.bool, device=features.tokens.device)
    return objective.write(features.tokens, real, beams=beams, longest=longest)
