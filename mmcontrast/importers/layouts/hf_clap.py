"""CLAP of transformers: a folder with config.json, weights, and the files of its tokenizer and feature extractor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from mmcontrast.config import config
from mmcontrast.data.transforms.clip import heard
from mmcontrast.errors import CheckpointError
from mmcontrast.evaluate.foreign import encode_functions
from mmcontrast.export.base import Read, Reader
from mmcontrast.export.key_map import KeyMap, Rule
from mmcontrast.export.part import Part
from mmcontrast.front_ends.presets import Laion, LaionFusion
from mmcontrast.heads.mlp import MLP
from mmcontrast.importers import IMPORTERS
from mmcontrast.importers.base import (
    NOT_ASKED,
    POSITIONS,
    SCALE,
    Draft,
    Importer,
    Tower,
    find_weights,
    read_weights,
    scalar,
)
from mmcontrast.importers.htsat_sizes import COMPUTED
from mmcontrast.importers.hugging_face import (
    OFFLINE,
    WEIGHTS,
    makes_tokens_of_nothing,
    peer_model,
    preprocessing_of,
    settings_of,
    tokenizer_of,
    version,
)
from mmcontrast.importers.roberta import ROBERTA_FIELDS, write_roberta
from mmcontrast.specs import ClipLength
from mmcontrast.towers.htsat import HTSAT
from mmcontrast.towers.htsat_fusion import HTSATFusion
from mmcontrast.towers.hugging_face_text import HuggingFaceText

ENCODER = "audio_model.audio_encoder"
BLOCK, OURS = f"{ENCODER}.layers.{{stage}}.blocks.{{block}}", "tower.layers.{stage}.blocks.{block}"
AUDIO = KeyMap(
    (
        Rule(f"{ENCODER}.batch_norm.{{kind}}", "tower.bn0.{kind}"),
        Rule(f"{ENCODER}.patch_embed.{{rest}}", "tower.patch_embed.{rest}"),
        Rule(f"{ENCODER}.norm.{{kind}}", "tower.norm.{kind}"),
        Rule(f"{ENCODER}.layers.{{stage}}.downsample.{{rest}}", "tower.layers.{stage}.downsample.{rest}"),
        Rule(f"{BLOCK}.layernorm_before.{{kind}}", f"{OURS}.norm1.{{kind}}"),
        Rule(f"{BLOCK}.layernorm_after.{{kind}}", f"{OURS}.norm2.{{kind}}"),
        Rule(tuple(f"{BLOCK}.attention.self.{of}.{{kind}}" for of in ("query", "key", "value")),
             f"{OURS}.attn.qkv.{{kind}}"),
        Rule(f"{BLOCK}.attention.self.relative_position_bias_table", f"{OURS}.attn.relative_position_bias_table"),
        Rule(f"{BLOCK}.attention.self.relative_position_index", f"{OURS}.attn.relative_position_index"),
        Rule(f"{BLOCK}.attention.output.dense.{{kind}}", f"{OURS}.attn.proj.{{kind}}"),
        Rule(f"{BLOCK}.intermediate.dense.{{kind}}", f"{OURS}.mlp.fc1.{{kind}}"),
        Rule(f"{BLOCK}.output.dense.{{kind}}", f"{OURS}.mlp.fc2.{{kind}}"),
        Rule("audio_projection.linear1.{kind}", "head.layers.0.{kind}"),
        Rule("audio_projection.linear2.{kind}", "head.layers.2.{kind}"),
    )
)  # fmt: skip
TEXT = KeyMap(
    (
        Rule("text_model.{rest}", "tower.inner.{rest}"),
        Rule("text_projection.linear1.{kind}", "head.layers.0.{kind}"),
        Rule("text_projection.linear2.{kind}", "head.layers.2.{kind}"),
    )
)
PLAIN = {"hidden_act": "gelu", "mlp_ratio": 4.0, "qkv_bias": True, "layer_norm_eps": 1e-5}
SHORT: dict[str, Any] = {"pad": "pad", "repeat": "repeat", "repeatpad": "repeat_pad"}


@IMPORTERS.register("hf_clap")
class HuggingFaceCLAP(Importer):
    """CLAP of transformers, with fusion or without: HTSAT and RoBERTa, each with a head of two layers."""

    modalities = ("audio", "text")
    packages = ("transformers",)

    @config
    class Config:
        """No fields."""

    def read(self, path: Path, modalities: Sequence[str], scratch: Path) -> Draft:
        """Read the folder; the audio tower is ours, the text tower RoBERTa of transformers."""
        settings = settings_of(path, "clap")
        files = find_weights(path, WEIGHTS)
        state = read_weights(files)
        towers = {}
        if "audio" in modalities:
            head = MLP.Config(activation=_activation(settings.audio_config))
            towers["audio"] = Tower(tower=_audio(path, settings.audio_config), head=head, key_map=AUDIO)
        if "text" in modalities:
            head = MLP.Config(activation=_activation(settings.text_config))
            tower = _text(path, settings.text_config, scratch / "text")
            towers["text"] = Tower(tower=tower, head=head, key_map=TEXT)
        left_out = {
            "logit_scale_a": SCALE,
            "logit_scale_t": SCALE,
            "text_model.embeddings.position_ids": POSITIONS,
            "text_model.embeddings.token_type_ids": "zeros",
        }
        others = {"audio": ("audio_model.{rest}", "audio_projection.{rest}"),
                  "text": ("text_model.{rest}", "text_projection.{rest}")}  # fmt: skip
        left_out |= {name: NOT_ASKED for of, names in others.items() if of not in towers for name in names}
        return Draft(
            towers=towers,
            dim=int(settings.projection_dim),
            state=state,
            files=files,
            left_out=left_out,
            computed=COMPUTED,
            logit_scale=scalar(state, "logit_scale_a"),
        )

    def peer(self, path: Path, part: Part) -> tuple[str, Read]:
        """``AutoModel`` of the same folder; it gets a long sound's first window, or our spectrograms for fusion."""
        from transformers import AutoFeatureExtractor

        extractor = AutoFeatureExtractor.from_pretrained(str(path), **OFFLINE)
        tokenizer = tokenizer_of(path)
        behind = SimpleNamespace(feature_extractor=extractor, tokenizer=tokenizer)
        model = peer_model(path)
        encode = dict(encode_functions(model, behind, "clap", extractor.sampling_rate, "cpu"))
        if "audio" in part.modalities and (spec := part.spec("audio")).fusion is not None:  # type: ignore[union-attr]
            encode["audio"] = _fused_reader(model, spec)
        empty = makes_tokens_of_nothing(tokenizer)
        return version(), Read({name: encode[name] for name in part.modalities}, empty_captions=empty)


def _audio(path: Path, audio: Any) -> Any:
    """The audio tower, and its front end as the feature extractor has it."""
    known = preprocessing_of(path)
    if not known:
        raise CheckpointError(f"'{path}' has no preprocessor_config.json, which says how sounds become spectrograms.")
    if audio.enable_fusion and audio.fusion_type == "channel_map":
        raise CheckpointError(f"'{path}' has the fusion channel_map; of transformers' models aff_2d alone is read.")
    for name, wanted in PLAIN.items():
        if getattr(audio, name) != wanted:
            raise CheckpointError(f"'{path}' has {name} {getattr(audio, name)}; the htsat tower has {wanted}.")
    patch, stride = (each if isinstance(each, int) else each[0] for each in (audio.patch_size, audio.patch_stride))
    if patch != stride:
        raise CheckpointError(f"'{path}' has patches of {patch} every {stride} pixels; htsat's do not overlap.")
    fft = int(known.get("fft_window_size", 1024))
    mel = (LaionFusion if known.get("truncation") == "fusion" else Laion).Config(
        sample_rate_hz=int(known.get("sampling_rate", 48_000)),
        fft_samples=fft,
        window_samples=fft,
        hop_samples=int(known.get("hop_length", 480)),
        mels=int(audio.num_mel_bins),
        low_hz=float(known.get("frequency_min", 0)),
        high_hz=float(known.get("frequency_max", 14_000)),
        int16=False,
    )
    # transformers shrinks the whole sound without antialiasing.
    fused: dict[str, Any] = {"fusion": "aff_2d", "antialias": False} if audio.enable_fusion else {}
    return (HTSATFusion if audio.enable_fusion else HTSAT).Config(
        **fused,
        seconds=float(known.get("max_length_s", 10)),
        mel=mel,
        length=ClipLength(short=SHORT[known.get("padding", "repeatpad")]),
        size=int(audio.spec_size),
        patch=int(patch),
        width=int(audio.patch_embeds_hidden_size),
        depths=tuple(audio.depths),
        heads=tuple(audio.num_attention_heads),
        window=int(audio.window_size),
    )


def _fused_reader(model: Any, spec: Any) -> Reader:
    """The model behind our spectrograms.

    Its extractor draws the chunks at random, and marks a random sound of a batch without a longer one as longer.
    """

    def audio(items: Sequence[Any]) -> Tensor:
        cells = [heard(item, spec)[0] for item in items]
        mels = torch.stack([cell["mels"] for cell in cells]).transpose(2, 3)
        longer = torch.stack([cell["longer"] for cell in cells])[:, None]
        found = model.get_audio_features(input_features=mels, is_longer=longer)
        return found if isinstance(found, Tensor) else found.pooler_output

    return audio


def _text(path: Path, text: Any, folder: Path) -> Any:
    """The text tower: CLAP's is RoBERTa."""
    tokenizer = tokenizer_of(path)
    if tokenizer is None:
        raise CheckpointError(f"'{path}' has no tokenizer. Import the audio tower alone: --tower audio.")
    places = int(text.max_position_embeddings) - int(text.pad_token_id) - 1  # RoBERTa counts from its padding's id on
    write_roberta(folder, {name: getattr(text, name) for name in ROBERTA_FIELDS}, tokenizer)
    return HuggingFaceText.Config(
        folder=folder, pooling="pooler", context_length=min(places, int(tokenizer.model_max_length))
    )


def _activation(part: Any) -> Any:
    if part.projection_hidden_act not in ("relu", "gelu"):
        raise CheckpointError(f"its heads have the activation '{part.projection_hidden_act}'; ours have relu or gelu.")
    return part.projection_hidden_act
