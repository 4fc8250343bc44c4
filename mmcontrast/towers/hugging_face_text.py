"""Any text model of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from mmcontrast.config import Count, OneOf, config
from mmcontrast.errors import ConfigError, MissingPackage
from mmcontrast.specs import TextSpec
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.hugging_face import HuggingFace
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout, Tower
from mmcontrast.towers.hugging_face_folder import checkpoint_transformers, transformers_layout
from mmcontrast.towers.prompts import ReadsPrompts
from mmcontrast.types import Features

Pooling = Literal[
    "cls", "pooler", "mean", "mean_with_padding", "position_weighted", "last_token", "eos", "nonzero_count"
]


@TOWERS.register("hugging_face_text")
class HuggingFaceText(Tower, ReadsPrompts):
    """``AutoModel`` of a local folder: its weights when it holds them, else random ones from its config.json.

    Poolings: the first token, the model's own pooler, the mean of the real tokens, the mean of all ``context_length``
    places, the mean weighted by the place (1, 2, 3, ...), the last real token, the last one that is the model's end
    token (the last real one where there is none), and the one at the count of ids other than 0, less one.

    Relations: with ``pooler`` RoBERTa and with ``mean_with_padding`` BART as in LAION-CLAP; with ``cls`` BERT as in
    MS-CLAP 2022, with ``nonzero_count`` GPT-2 as in MS-CLAP 2023, which takes GPT-2's "!", id 0, for padding: in a
    caption without one it is ``last_token``.  ``position_weighted`` is SGPT's (Muennighoff 2022, arXiv:2202.08904,
    equation 3).
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
        self.places = self._places(inner.config)
        self._check_context()
        self.pad_id = _first_id(inner.config.pad_token_id) or 0
        self.end_id = _first_id(inner.config.eos_token_id)
        if config.pooling == "eos" and self.end_id is None:
            raise ConfigError(f"pooling eos: '{config.folder}' names no eos_token_id; use last_token.")
        if config.pooling != "pooler":  # unread, so no gradient reaches it: an optimizer or ZeRO must not wait for one
            for part in (part for name, part in self.inner.named_children() if name == "pooler"):
                part.requires_grad_(False)
        self.width = int(inner.config.hidden_size)

    def forward(self, values: Int[Tensor, "B T"]) -> Features:
        """Encode ids; 0 is padding, the model's own ids are one less."""
        if self.config.pooling == "mean_with_padding":  # whatever the batch was trimmed to
            values = pad(values, (0, self.config.context_length - values.shape[1]))
        ids, real = self._own_ids(values)
        out = self.inner(input_ids=ids, attention_mask=real.long())
        hidden = out.last_hidden_state
        if self.config.pooling == "pooler":
            return Features(self._pooler(out), hidden, real)
        return Features(pool(hidden, ids, real, pooling=self.config.pooling, end_id=self.end_id), hidden, real)

    def words(self, values: Int[Tensor, "B T"]) -> Float[Tensor, "B T prompt_width"]:
        """The model's own vectors of its ids; it adds places itself."""
        found: Tensor = self.inner.get_input_embeddings()(self._own_ids(values)[0])  # type: ignore[operator]
        return found

    def prompted(self, values: Int[Tensor, "B T"], prompts: Float[Tensor, "B K prompt_width"]) -> Features:
        """Encode ids after vectors, which count in means as words do; single places are read among the ids.

        The model numbers the places: words stand behind those of the prompts.

        Raises:
            ConfigError: a pooler reads its own place, or the model has too few of them.
        """
        if self.config.pooling == "pooler":
            raise ConfigError("hugging_face_text with pooling pooler reads no prompts: they would stand in its place.")
        if self.config.pooling == "mean_with_padding":
            values = pad(values, (0, self.config.context_length - values.shape[1]))
        count = prompts.shape[1]
        if self.places is not None and count + values.shape[1] > self.places:
            raise ConfigError(
                f"{count} prompts and {values.shape[1]} tokens: '{self.config.folder}' has {self.places} positions."
            )
        ids, real = self._own_ids(values)
        whole = pad(real, (count, 0), value=True)
        embedded = torch.cat([prompts, self.words(values)], dim=1)
        hidden = self.inner(inputs_embeds=embedded, attention_mask=whole.long()).last_hidden_state
        if self.config.pooling in ("mean", "mean_with_padding", "position_weighted"):
            pooled = pool(hidden, ids, whole, pooling=self.config.pooling)
        else:
            pooled = pool(hidden[:, count:], ids, real, pooling=self.config.pooling, end_id=self.end_id)
        return Features(pooled, hidden, whole)

    def _own_ids(self, values: Int[Tensor, "B T"]) -> tuple[Int[Tensor, "B T"], Bool[Tensor, "B T"]]:
        """The model's ids, and which of them are a caption's."""
        real = values != 0
        # A row of padding alone (an absent cell) keeps one token: attention over nothing is NaN.
        real[:, 0] |= ~real.any(dim=1)
        return torch.where(real, (values - 1).clamp_min(0), self.pad_id), real

    def layout(self) -> Layout:
        """What is registered before the longest list of modules; that list; the rest."""
        return transformers_layout(self.inner) or super().layout()

    def checkpoint_activations(self) -> None:
        """As transformers does it."""
        checkpoint_transformers(self.inner, self.config.folder)

    def _pooler(self, out: Any) -> Float[Tensor, "B width"]:
        if getattr(out, "pooler_output", None) is None:
            raise ConfigError(f"'{self.config.folder}' has no pooler; use another pooling, such as cls or mean.")
        return out.pooler_output

    def _places(self, settings: Any) -> int | None:
        """Longest input that the model has positions for; models without positions of their own have no limit."""
        places: int | None = getattr(settings, "max_position_embeddings", None)
        if places is None:
            return None
        tables = (each for each in self.inner.modules() if isinstance(each, nn.Embedding))
        first = (each.padding_idx for each in tables if each.num_embeddings == places)
        # RoBERTa counts from its padding's id on
        return places - 1 - next((each for each in first if each is not None), -1)

    def _check_context(self) -> None:
        """Refuse captions longer than the model has positions for."""
        if self.places is not None and self.config.context_length > self.places:
            raise ConfigError(
                f"context_length {self.config.context_length}: '{self.config.folder}' has {self.places} positions. "
                "Use a shorter one, or a model made for long texts, such as ModernBERT."
            )


def pool(
    hidden: Float[Tensor, "B T width"],
    ids: Int[Tensor, "B T"],
    real: Bool[Tensor, "B T"],
    *,
    pooling: Pooling,
    end_id: int | None = None,
) -> Float[Tensor, "B width"]:
    """One vector a row of hidden states; see :class:`HuggingFaceText` for what each pooling reads.

    Args:
        ids: the model's own.
        real: False at padding; at least one place of a row is True.
        end_id: of the model's end token, for ``eos``.
    """
    places = torch.arange(1, real.shape[1] + 1, device=real.device)
    if pooling in ("mean", "mean_with_padding", "position_weighted"):
        weight = torch.ones_like(real) if pooling == "mean_with_padding" else real
        weight = weight * places if pooling == "position_weighted" else weight
        weight = weight[:, :, None].to(hidden.dtype)
        return (hidden * weight).sum(dim=1) / weight.sum(dim=1)
    last = (real * places).amax(dim=1) - 1
    if pooling == "cls":
        at = torch.zeros_like(last)
    elif pooling == "eos":
        ends = (real & (ids == end_id)) * places
        at = torch.where(ends.any(dim=1), ends.amax(dim=1) - 1, last)
    elif pooling == "nonzero_count":
        at = ((real & (ids != 0)).sum(dim=1) - 1).clamp_min(0)
    else:
        assert pooling == "last_token", f"{pooling} reads no single place"
        at = last
    return hidden[torch.arange(len(hidden), device=hidden.device), at]


def _first_id(ids: int | list[int] | None) -> int | None:
    return ids[0] if isinstance(ids, list) else ids
