"""Text towers against the packages they follow, and what they say of word order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmcontrast.errors import ConfigError, NeedsError
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.open_clip import OpenCLIP
from mmcontrast.towers import TOWERS
from mmcontrast.towers.text_transformer import HashEmbedding

SMALL = {
    "bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "roberta": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "eos_token_id": 2},
    "bart": {
        "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_layers": 1,
        "decoder_attention_heads": 2, "decoder_ffn_dim": 32,
    },
    "t5": {"d_model": 16, "num_layers": 2, "num_heads": 2, "d_kv": 8, "d_ff": 32},
    "modernbert": {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "pad_token_id": 1,
    },
}  # fmt: skip
POOLINGS = [
    ("bert", "cls"),
    ("bert", "pooler"),
    ("roberta", "pooler"),
    ("roberta", "position_weighted"),
    ("gpt2", "last_token"),
    ("gpt2", "position_weighted"),
    ("gpt2", "nonzero_count"),
    ("gpt2", "eos"),
    ("bart", "eos"),
    ("bart", "mean"),
    ("t5", "mean"),
    ("modernbert", "mean"),
]


def ids_of_three_lengths() -> tuple[list[list[int]], Tensor]:
    """The model's own ids, and ours: each plus one, padded with 0."""
    # id 0 is a word of RoBERTa and GPT-2, 2 an end; the last text goes on after its end
    rows = [[0, 7, 9, 2], [0, 5, 2], [0, 11, 2, 0, 12, 13, 2, 14]]
    return rows, torch.tensor([[each + 1 for each in row] + [0] * (8 - len(row)) for row in rows])


def text_tower(model_type: str, folder: Path, **fields: Any) -> Any:
    """A tower with random weights of a small model."""
    (folder / "config.json").write_text(json.dumps({"model_type": model_type, "vocab_size": 50, **SMALL[model_type]}))
    torch.manual_seed(0)
    cls = TOWERS.get("hugging_face_text")
    return cls(cls.Config(**{"folder": folder, "context_length": 16, **fields})).eval()


@pytest.mark.parametrize(("model_type", "pooling"), POOLINGS)
def test_transformers_models_read_each_caption_as_if_unpadded(model_type: str, pooling: str, tmp_path: Path) -> None:
    tower = text_tower(model_type, tmp_path, pooling=pooling)
    rows, values = ids_of_three_lengths()
    with torch.no_grad():
        pooled = tower(values).pooled
        for row, ours in zip(rows, pooled, strict=True):
            out = tower.inner(input_ids=torch.tensor([row]))
            hidden = out.last_hidden_state[0]
            weights = [place / sum(range(1, len(row) + 1)) for place in range(1, len(row) + 1)]
            theirs = {
                "cls": hidden[0],
                "last_token": hidden[-1],
                "mean": hidden.mean(dim=0),
                "position_weighted": sum(weight * each for weight, each in zip(weights, hidden, strict=True)),
                "eos": hidden[max(place for place, each in enumerate(row) if each == 2)],
                "nonzero_count": hidden[sum(each != 0 for each in row) - 1],
            }
            expected = out.pooler_output[0] if pooling == "pooler" else theirs[pooling]
            torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_the_mean_with_padding_is_that_of_every_place_however_the_batch_is_trimmed(tmp_path: Path) -> None:
    tower = text_tower("bart", tmp_path, pooling="mean_with_padding")
    rows, values = ids_of_three_lengths()
    padded = torch.tensor([row + [1] * (16 - len(row)) for row in rows])  # 1 is BART's padding
    with torch.no_grad():
        expected = tower.inner(input_ids=padded, attention_mask=(padded != 1).long()).last_hidden_state.mean(dim=1)
        torch.testing.assert_close(tower(values).pooled, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(tower(values[:2, :4]).pooled, expected[:2], atol=1e-5, rtol=1e-5)


def test_a_text_without_an_end_token_is_read_at_its_last(tmp_path: Path) -> None:
    tower = text_tower("gpt2", tmp_path, pooling="eos")
    last = text_tower("gpt2", tmp_path, pooling="last_token")
    values = torch.tensor([[4, 8, 10, 0, 0]])
    with torch.no_grad():
        assert torch.equal(tower(values).pooled, last(values).pooled)
    with pytest.raises(ConfigError, match="pooling eos: .* names no eos_token_id"):
        text_tower("bert", tmp_path, pooling="eos")


def test_long_texts_need_a_model_without_a_table_of_places(tmp_path: Path) -> None:
    for model_type, longest in (("bert", 512), ("roberta", 510), ("gpt2", 1024)):
        with pytest.raises(ConfigError, match=f"context_length {longest + 1}: .* has {longest} positions"):
            text_tower(model_type, tmp_path, context_length=longest + 1)
    tower = text_tower("modernbert", tmp_path, context_length=2048)
    words = torch.randint(3, 50, (1, 1500), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = tower(words + 1).pooled
        expected = tower.inner(input_ids=words).last_hidden_state.mean(dim=1)
        torch.testing.assert_close(whole, expected, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(whole, tower(words[:, :750] + 1).pooled, atol=1e-4)


def test_saved_transformers_weights_are_loaded(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    theirs = BertModel(BertConfig(vocab_size=50, **SMALL["bert"])).eval()
    theirs.save_pretrained(tmp_path)
    tower = TOWERS.build(TOWERS.get("hugging_face_text").Config(folder=tmp_path, pooling="pooler")).eval()
    ids = torch.tensor([[2, 7, 9, 3]])
    with torch.no_grad():
        torch.testing.assert_close(tower(ids + 1).pooled, theirs(ids).pooler_output, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "coca_ViT-B-32", "ViT-L-14-worldwide", "roberta-ViT-B-32"])
def test_open_clip_text_refuses_what_trimming_would_change(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        TOWERS.get("open_clip_text").Config(name=name)


def test_an_unknown_open_clip_model_is_named_with_the_closest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'ViT-B-32'"):
        TOWERS.get("open_clip_text").Config(name="ViT-B-23")


def test_an_exclamation_mark_is_a_real_token_of_clip() -> None:
    cls = TOWERS.get("open_clip_text")
    tower = cls(cls.Config(name="ViT-S-32-alt")).eval()
    ids = TOKENIZERS.build(cls.Config().tokenizer).encode('("!")', context_length=77)
    assert 0 in ids
    padded = torch.tensor([ids + [0, 0]])
    with torch.no_grad():
        assert tower(padded).token_mask.tolist() == [[True] * len(ids) + [False] * 2]


def encoded(tower: Any, *texts: str) -> Tensor:
    """Pooled features of texts of equal length."""
    spec = tower.config.input_spec()
    encode = TOKENIZERS.build(spec.tokenizer).encode
    with torch.no_grad():
        return tower.eval()(torch.tensor([encode(text, context_length=spec.context_length) for text in texts])).pooled


@pytest.mark.parametrize(("name", "fields", "told_apart"), [
    ("ngram_text", {"n": 1}, False),
    ("ngram_text", {"n": 2}, True),
    ("text_transformer", {}, True),
])  # fmt: skip
def test_word_order_is_told_apart_or_not(name: str, fields: dict[str, Any], told_apart: bool) -> None:
    torch.manual_seed(0)
    cls = TOWERS.get(name)
    one, two = encoded(cls(cls.Config(**fields)), "a dog then a horn", "a horn then a dog")
    assert bool((one - two).abs().max() > 1e-3) is told_apart


def test_words_that_share_one_row_still_differ() -> None:
    torch.manual_seed(0)
    embed = HashEmbedding(buckets=64, lookups=2, width=8, gain=4.0, std=0.5)
    ids = torch.arange(1, 2001)[None] * 997
    with torch.no_grad():
        vectors = embed(ids)[0]
    assert len(torch.unique(vectors, dim=0)) > 10 * 64  # one lookup could give 64 vectors at most


def test_an_untrained_word_has_the_asked_deviation_whatever_the_gain() -> None:
    torch.manual_seed(0)
    ids = torch.arange(1, 4001)[None] * 997
    for gain, lookups in ((1.0, 1), (10.0, 2), (3.0, 4)):
        embed = HashEmbedding(buckets=8192, lookups=lookups, width=32, gain=gain, std=0.5)
        with torch.no_grad():
            assert abs(float(embed(ids).std()) - 0.5) < 0.02


@pytest.mark.parametrize("text", ["a photo of a dog, on 2 tables!", "naïve café 日本 \N{GRINNING FACE}", ""])
def test_byte_pairs_are_read_back(text: str) -> None:
    tokenizer = TOKENIZERS.build(OpenCLIP.Config())
    found = tokenizer.decode(tokenizer.encode(text, context_length=77))
    assert found.replace(" ", "") == text.replace(" ", "").lower() and tokenizer.size == 49408


def test_hashes_are_not() -> None:
    with pytest.raises(NeedsError, match="cannot be read back"):
        TOKENIZERS.build(TOKENIZERS.get("hashed_words").Config()).decode([3])
