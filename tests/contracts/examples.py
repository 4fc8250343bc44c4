"""One tiny working config for every registered tower; a name without one fails the contract tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcontrast.front_ends.log_mel import LogMelConfig
from mmcontrast.specs import AudioSpec, ImageSpec
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.towers import TOWERS
from tests import tiny

BERT = {
    "model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "vocab_size": 50, "max_position_embeddings": 32,
}  # fmt: skip

WHISPER = {
    "model_type": "whisper", "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32,
    "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 32, "vocab_size": 50, "num_mel_bins": 16,
    "max_source_positions": 100, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip


SIGLIP = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
SIGLIP_TEXT = {
    **SIGLIP, "model_type": "siglip_text_model", "vocab_size": 50, "max_position_embeddings": 16,
    "projection_size": 12, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
SIGLIP_VISION = {**SIGLIP, "model_type": "siglip_vision_model", "image_size": 32, "patch_size": 16}


def config_folder(folder: Path, settings: dict[str, Any]) -> Path:
    """A local transformers folder with a config alone."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def bert_folder(folder: Path, settings: dict[str, Any] = BERT) -> Path:
    """A local transformers folder with a config and a word-level tokenizer, no weights."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    config_folder(folder, settings)
    vocabulary = {"[UNK]": 0, "[PAD]": 1, **{f"word{number}": number for number in range(2, 50)}}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def whisper_folder(folder: Path) -> Path:
    """A local transformers folder with a small Whisper's config and no weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(WHISPER))
    return folder


def piece_model(folder: Path) -> Path:
    """A local SentencePiece model of a few made-up captions."""
    import io

    from sentencepiece import SentencePieceTrainer

    folder.mkdir(parents=True, exist_ok=True)
    captions = [f"a red square beside word{number} and a dog" for number in range(50)]
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(captions),
        model_writer=model,
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
    )
    (folder / "pieces.model").write_bytes(model.getvalue())
    return folder / "pieces.model"


def tower_config(name: str, folder: Path) -> Any:
    """The example config of a tower.

    Args:
        folder: scratch space for towers that read files.
    """
    cls = TOWERS.get(name).Config
    mel = LogMelConfig(
        sample_rate_hz=8000, fft_samples=256, window_samples=256, hop_samples=128, mels=16, high_hz=4000.0
    )
    examples = {
        "small_resnet": lambda: tiny.TOWERS["image"],
        "small_audio_cnn": lambda: tiny.TOWERS["audio"],
        "text_transformer": lambda: cls(width=16, layers=1, heads=2, buckets=64, context_length=16),
        "ngram_text": lambda: cls(width=16, buckets=64, context_length=16),
        "timm_image": lambda: cls(name="resnet10t", size=32),
        "timm_naflex": lambda: cls(width=24, depth=2, heads=2, patch=8, tokens=16),
        "timm_spectrogram": lambda: cls(name="vit_tiny_patch16_224", size=32, seconds=0.5, mel=mel),
        "open_clip_image": lambda: cls(name="ViT-S-32-alt", size=64),
        "open_clip_text": lambda: cls(name="ViT-S-32-alt"),
        "htsat": lambda: cls(seconds=0.5, mel=mel, size=32, width=8, depths=(1, 2), heads=(2, 2), window=4),
        "htsat_fusion": lambda: cls(seconds=0.5, mel=mel, size=32, width=8, depths=(1, 1), heads=(2, 2), window=4),
        "panns": lambda: cls(seconds=0.5, mel=mel, widths=(8, 16)),
        "spectrogram_vit": lambda: cls(name="test_vit", mel=mel, seconds=0.5),
        "imagebind_audio": lambda: cls(seconds=0.5, mel=mel, patch=8, stride=6, width=16, layers=1, heads=2),
        "beats": lambda: cls(
            seconds=0.5,
            mel=mel,
            patch=8,
            patch_width=8,
            width=16,
            layers=2,
            heads=2,
            mlp_width=32,
            position_filters=4,
            position_groups=2,
            buckets=8,
            max_distance=12,
        ),
        "whisper_encoder": lambda: cls(folder=whisper_folder(folder), seconds=0.5),
        "hugging_face_image": lambda: cls(folder=config_folder(folder / "vision", SIGLIP_VISION)),
        "siglip_text": lambda: cls(folder=bert_folder(folder / "siglip", SIGLIP_TEXT), context_length=16),
        "hugging_face_text": lambda: cls(folder=bert_folder(folder), context_length=16),
    }
    assert name in examples, f"add '{name}' to tests/contracts/examples.py"
    return examples[name]()


def inputs(config: Any, rows: int, *, seed: int = 0) -> Tensor:
    """Random inputs that fit a tower's spec."""
    generator = torch.Generator().manual_seed(seed)
    spec = config.input_spec()
    if isinstance(spec, ImageSpec):
        return torch.randint(0, 256, (rows, 3, spec.size, spec.size), generator=generator, dtype=torch.uint8)
    if isinstance(spec, AudioSpec):
        return 0.1 * torch.randn(rows, spec.samples, generator=generator)
    encode = TOKENIZERS.build(spec.tokenizer).encode
    texts = [" ".join(f"word{2 + (row * 7 + place) % 40}" for place in range(2 + row % 4)) for row in range(rows)]
    ids = [encode(text, context_length=spec.context_length) for text in texts]
    longest = max(len(row) for row in ids)
    return torch.tensor([row + [0] * (longest - len(row)) for row in ids])
