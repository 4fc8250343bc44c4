"""Any text model of transformers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmcontrast.config import Count, OneOf, config
from mmcontrast.errors import ConfigError, MissingPackage
from mmcontrast.specs import TextSpec
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.hugging_face import HuggingFace
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout, Tower, layout_of
from mmcontrast.types import Features

Pooling = Literal["cls", "pooler", "mean", "last_token"]


@TOWERS.register("hugging_face_text")
class HuggingFaceText(Tower):
    """``AutoModel`` of a local folder: its weights when it holds them, else random ones from its config.json.

    Relations: with ``pooler`` RoBERTa as in LAION-CLAP; with ``cls`` BERT, with ``last_token`` GPT-2 as in MS-CLAP.
    """

    @config
    class Config:
        """Fields of the tower."""

        modality: ClassVar[str] = "text"
        folder: Path  # config.json, and model.safetensors for trained weights
        tokenizer: Annotated[Any, OneOf(TOKENIZERS)] | None = None  # null: the hugging_face one of the same folder
        pooling: Pooling = "mean"
        context_length: Count = 77  # tokens

        def input_spec(self) -> TextSpec:
            """Ids of the tokenizer."""
            tokenizer = self.tokenizer or HuggingFace.Config(folder=self.folder)
            return TextSpec(tokenizer=tokenizer, context_length=self.context_length)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        try:
            from transformers import AutoConfig, AutoModel
        except ImportError as error:
            raise MissingPackage("hugging_face_text needs transformers: pip install 'mmcontrast[hf]'.") from error
        if not (config.folder / "config.json").is_file():
            raise ConfigError(f"no config.json in '{config.folder}', which should hold a transformers model.")
        if (config.folder / "model.safetensors").is_file():
            inner = AutoModel.from_pretrained(
                str(config.folder), local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
        else:
            settings = AutoConfig.from_pretrained(str(config.folder), local_files_only=True, trust_remote_code=False)
            inner = AutoModel.from_config(settings, trust_remote_code=False)
        # Encoder-decoders (T5, BART) give their encoder; it is all that a text tower reads.
        self.inner: nn.Module = inner.get_encoder() if inner.config.is_encoder_decoder else inner
        if config.pooling != "pooler":  # unread, so no gradient reaches it: an optimizer or ZeRO must not wait for one
            for part in (part for name, part in self.inner.named_children() if name == "pooler"):
                part.requires_grad_(False)
        self.width = int(inner.config.hidden_size)

    def forward(self, values: Int[Tensor, "B T"]) -> Features:
        """Encode ids; 0 is padding, the model's own ids are one less."""
        real = values != 0
        # A row of padding alone (an absent cell) keeps one token: attention over nothing is NaN.
        real[:, 0] |= ~real.any(dim=1)
        out = self.inner(input_ids=(values - 1).clamp_min(0), attention_mask=real.long())
        hidden = out.last_hidden_state
        return Features(self._pool(hidden, real, out), hidden, real)

    def layout(self) -> Layout:
        """What is registered before the longest list of modules; that list; the rest."""
        lists = {name: module for name, module in self.inner.named_modules() if isinstance(module, nn.ModuleList)}
        name = max(lists, key=lambda name: len(lists[name]), default=None)
        if name is None:
            return super().layout()
        names = [each for each, _ in self.inner.named_parameters()]
        first = next(number for number, each in enumerate(names) if each.startswith(f"{name}."))
        blocks = [[f"{name}.{number}"] for number in range(len(lists[name]))]
        return layout_of(self.inner, embeddings=names[:first], blocks=blocks, prefix="inner.")

    def checkpoint_activations(self) -> None:
        """As transformers does it."""
        inner: Any = self.inner
        if not inner.supports_gradient_checkpointing:
            raise ConfigError(f"checkpointing: transformers does not offer it for '{self.config.folder}'.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # transformers 5.2 renames it; both know this name
            inner.gradient_checkpointing_enable({"use_reentrant": False})

    def _pool(self, hidden: Float[Tensor, "B T width"], real: Bool[Tensor, "B T"], out: Any) -> Tensor:
        if self.config.pooling == "cls":
            return hidden[:, 0]
        if self.config.pooling == "pooler":
            if getattr(out, "pooler_output", None) is None:
                raise ConfigError(f"'{self.config.folder}' has no pooler; use pooling: cls, mean or last_token.")
            return out.pooler_output
        if self.config.pooling == "last_token":
            places = torch.arange(real.shape[1], device=real.device)
            last = torch.where(real, places, -1).amax(dim=1)
            return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]
        weight = real[:, :, None].to(hidden.dtype)
        return (hidden * weight).sum(dim=1) / weight.sum(dim=1)
