"""msclap's own modules with a checkpoint's weights, beside which an import is checked."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmcontrast.export.base import Reader
from mmcontrast.importers.ms_clap_text import END
from mmcontrast.importers.peer_module import peer_module


def ms_version() -> str:
    """For the report."""
    return f"msclap {version('msclap')} and transformers {version('transformers')}"


def audio_reader(state: Mapping[str, Tensor], tower: Any, dim: int, release: str) -> Reader:
    """msclap's audio encoder: short sounds are repeated and cut, of long ones both take the first window.

    Args:
        tower: config of our tower, for sizes and front end.
        release: 2022 or 2023.
    """
    mel = tower.mel
    with peer_module("msclap", "models.clap", needs=("torchlibrosa",)) as module:
        width = state["audio_encoder.projection.linear1.weight"].shape[1]
        events = state.get("audio_encoder.base.fc_audioset.bias", torch.zeros(527))
        model: Any = module.AudioEncoder(
            "HTSAT" if release == "2023" else "Cnn14", width, dim, mel.sample_rate_hz, mel.window_samples,
            mel.hop_samples, mel.mels, mel.low_hz, mel.high_hz, len(events),
        )  # fmt: skip
        if release == "2023":
            events = state.get("audio_encoder.base.htsat.head.bias", torch.zeros(527))
            model.base.htsat = _htsat_of_size(module, tower, events=len(events))
    _load(model, state, "audio_encoder.")
    samples = tower.input_spec().samples

    def audio(items: Sequence[Any]) -> Tensor:
        waves = [np.resize(item, samples) if len(item) < samples else item[:samples] for item in items]
        return model(torch.from_numpy(np.stack(waves)))[0]

    return audio


def _htsat_of_size(module: Any, tower: Any, *, events: int) -> Any:
    """msclap's HTSAT in our tower's sizes; its wrapper builds one of the constants of a file."""
    package = module.__name__.rpartition(".")[0]
    htsat, constants = (importlib.import_module(f"{package}.{name}") for name in ("htsat", "config"))
    mel = tower.mel
    settings = SimpleNamespace(
        sample_rate=mel.filter_rate_hz or mel.sample_rate_hz, window_size=mel.window_samples, hop_size=mel.hop_samples,
        mel_bins=mel.mels, fmin=mel.low_hz, fmax=mel.high_hz, enable_tscam=constants.enable_tscam,
        htsat_attn_heatmap=constants.htsat_attn_heatmap, enable_repeat_mode=constants.enable_repeat_mode,
        loss_type=constants.loss_type,
    )  # fmt: skip
    return htsat.HTSAT_Swin_Transformer(
        spec_size=tower.size, patch_size=tower.patch, patch_stride=(tower.patch,) * 2, num_classes=events,
        embed_dim=tower.channels(), depths=list(tower.stages()), num_heads=list(tower.heads),
        window_size=tower.window, config=settings,
    )  # fmt: skip


def text_reader(state: Mapping[str, Tensor], settings: Any, tokenizer: Any, dim: int, context_length: int) -> Reader:
    """msclap's text encoder around transformers' model, captions padded to their full length.

    msclap does not cut what is longer; here both cut it, and keep 2023's end token.
    """
    from transformers import AutoModel

    gpt = settings.model_type == "gpt2"
    with peer_module("msclap", "models.clap", needs=("torchlibrosa",)) as found:
        module: Any = found
        module.AutoModel = SimpleNamespace(from_pretrained=lambda name: AutoModel.from_config(settings))
        name = "gpt2" if gpt else "bert-base-uncased"
        model: Any = module.TextEncoder(dim, name, settings.hidden_size)
    _load(model, state, "caption_encoder.")
    end = tokenizer(END)["input_ids"] if gpt else []

    def text(items: Sequence[Any]) -> Tensor:
        rows = []
        for item in items:
            ids = tokenizer(item + END)["input_ids"] if gpt else tokenizer(item)["input_ids"]
            if len(ids) > context_length:
                ids = [*ids[: context_length - len(end)], *end]
                ids = ids if gpt else [*ids[:-1], tokenizer.sep_token_id]
            rows.append(ids)
        filled = tokenizer.pad(
            {"input_ids": rows}, padding="max_length", max_length=context_length, return_tensors="pt"
        )
        return model({"input_ids": filled["input_ids"], "attention_mask": filled["attention_mask"]})

    return text


def _load(model: torch.nn.Module, state: Mapping[str, Tensor], prefix: str) -> None:
    """Load what is under a prefix; names that only older versions of transformers have are left out."""
    own = model.state_dict()
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    model.load_state_dict({name: value for name, value in found.items() if name in own})
    model.eval()
