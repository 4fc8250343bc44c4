"""laion_clap's own modules with a checkpoint's weights, beside which an import is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmcontrast.data.transforms.clip import heard
from mmcontrast.export.base import Reader
from mmcontrast.importers.htsat_sizes import fusion_kind
from mmcontrast.importers.peer_module import peer_module
from mmcontrast.importers.roberta import roberta_sizes


def laion_version() -> str:
    """For the report."""
    return f"laion_clap {version('laion_clap')} and transformers {version('transformers')}"


def audio_reader(state: Mapping[str, Tensor], tower: Any, fields: Any) -> Reader:
    """laion_clap's HTSAT and head.

    Its own loading code cannot run without a network; as there, sounds are cut to 16 bits and repeated.  Of a long one
    it would take a random window; here both take the first.  Spectrograms for fusion are ours.

    Args:
        tower: config of our tower, for sizes and front end.
        fields: of the importer.
    """
    with peer_module("laion_clap", "clap_module.htsat", needs=("torchlibrosa",)) as module:
        branch = {name[13:]: value for name, value in state.items() if name.startswith("audio_branch.")}
        fusion = fusion_kind(branch)
        fused = fusion is not None
        mel = tower.mel
        settings = SimpleNamespace(
            window_size=mel.window_samples, hop_size=mel.hop_samples, sample_rate=mel.sample_rate_hz,
            mel_bins=mel.mels, fmin=mel.low_hz, fmax=mel.high_hz, enable_fusion=fused,
        )  # fmt: skip
        sizes = dict(depths=list(tower.depths), num_heads=list(tower.heads), window_size=tower.window)
        model: Any = module.HTSAT_Swin_Transformer(
            spec_size=tower.size, patch_size=tower.patch, patch_stride=(tower.patch,) * 2, embed_dim=tower.width,
            num_classes=len(branch["head.weight"]) if "head.weight" in branch else 527, config=settings,
            enable_fusion=fused, fusion_type=fusion or "None", **sizes,
        )  # fmt: skip
    model.load_state_dict(branch)
    head = _head(state, "audio_projection", fields.activation)
    spec = tower.input_spec()
    model.eval()

    def fed(item: np.ndarray) -> dict[str, Tensor]:
        (cell,) = heard(item, spec)
        if fused:
            longer = torch.as_tensor(cell["longer"])
            return {"mel_fusion": torch.as_tensor(cell["mels"]).transpose(1, 2), "longer": longer}
        wave = np.clip(cell, -1.0, 1.0)
        return {"waveform": torch.from_numpy((wave * 32767.0).astype(np.int16).astype(np.float32) / 32767.0)}

    def audio(items: Sequence[Any]) -> Tensor:
        cells = [fed(item) for item in items]
        batch = {name: torch.stack([cell[name] for cell in cells]) for name in cells[0]}
        if fused and not batch["longer"].any():  # with fusion of spectrograms it fails where no row is longer
            batch = {name: torch.cat([each, each[:1]]) for name, each in batch.items()}
            batch["longer"][-1] = True
        return head(model(batch, device=torch.device("cpu"))["embedding"][: len(cells)])

    return audio


def text_reader(state: Mapping[str, Tensor], tokenizer: Any, context_length: int, activation: str) -> Reader:
    """transformers' RoBERTa, captions padded to their full length, and the head."""
    from transformers import RobertaConfig, RobertaModel

    branch = {name[12:]: value for name, value in state.items() if name.startswith("text_branch.")}
    branch = {name: value for name, value in branch.items() if not name.endswith(("position_ids", "token_type_ids"))}
    model: Any = RobertaModel(RobertaConfig(**roberta_sizes(branch, where="the checkpoint"))).eval()
    model.load_state_dict(branch)
    head = _head(state, "text_projection", activation)

    def text(items: Sequence[Any]) -> Tensor:
        inputs = tokenizer(
            list(items), padding="max_length", truncation=True, max_length=context_length, return_tensors="pt"
        )
        out = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        return head(out.pooler_output)

    return text


def _head(state: Mapping[str, Tensor], name: str, activation: str) -> nn.Sequential:
    first, last = (state[f"{name}.{layer}.weight"] for layer in (0, 2))
    head = nn.Sequential(
        nn.Linear(first.shape[1], len(first)),
        nn.ReLU() if activation == "relu" else nn.GELU(),
        nn.Linear(last.shape[1], len(last)),
    )
    head.load_state_dict({key[len(name) + 1 :]: value for key, value in state.items() if key.startswith(f"{name}.")})
    return head.eval()
