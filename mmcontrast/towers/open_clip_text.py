"""open_clip's own text transformer, by model name, exact on trimmed captions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mmcontrast.config import OneOf, config
from mmcontrast.errors import ConfigError
from mmcontrast.specs import TextSpec
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.open_clip import OpenCLIP
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout, Tower, layout_of
from mmcontrast.towers.open_clip_image import architecture, open_clip_config, resblocks
from mmcontrast.towers.prompts import ReadsPrompts
from mmcontrast.types import Features


@TOWERS.register("open_clip_text")
class OpenCLIPText(Tower, ReadsPrompts):
    """The causal text transformer of an open_clip model config, with its own projection; random weights.

    Captions come trimmed to the batch's longest: attention is causal and the end token is what is read, so the padding
    that open_clip carries to 77 tokens changes nothing but the time.

    Source: Radford et al. 2021, arXiv:2103.00020, section 2.4.
    """

    @config
    class Config:
        """Fields of the tower."""

        modality: ClassVar[str] = "text"
        name: str = "ViT-B-32"  # open_clip's model name
        folder: Path | None = None  # with open_clip_config.json: its architecture instead of the name's
        tokenizer: Annotated[Any, OneOf(TOKENIZERS)] = OpenCLIP.Config()

        def __post_init__(self) -> None:
            if self.folder is None and (problem := not_trimmable(open_clip_config(self.name)["text_cfg"])):
                raise ValueError(f"the text tower of '{self.name}' {problem}")

        def input_spec(self) -> TextSpec:
            """Byte pairs, at most the model's context."""
            length = int(architecture(self)["text_cfg"].get("context_length", 77))
            return TextSpec(tokenizer=self.tokenizer, context_length=length)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        from open_clip.model import _build_text_tower

        settings = architecture(config)
        if problem := not_trimmable(settings["text_cfg"]):
            raise ConfigError(f"the text tower of '{config.folder or config.name}' {problem}")
        quick_gelu = bool(settings.get("quick_gelu", False))
        self.inner: nn.Module = _build_text_tower(settings["embed_dim"], settings["text_cfg"], quick_gelu)
        self.width = int(settings["embed_dim"])

    @property
    def token_width(self) -> int:
        """Width of the transformer, before the projection."""
        return int(architecture(self.config)["text_cfg"]["width"])

    def forward(self, values: Int[Tensor, "B T"]) -> Features:
        """Encode ids; 0 is padding."""
        inner: Any = self.inner
        values = values[:, : inner.context_length]
        places = torch.arange(values.shape[1], device=values.device)
        return self._encoded(self.words(values), values, inner.attn_mask[places][:, places])

    def words(self, values: Int[Tensor, "B T"]) -> Float[Tensor, "B T prompt_width"]:
        """Each token's vector plus its place's."""
        inner: Any = self.inner
        x: Tensor = inner.token_embedding(values) + inner.positional_embedding[: values.shape[1]]
        return x

    def prompted(self, values: Int[Tensor, "B T"], prompts: Float[Tensor, "B K prompt_width"]) -> Features:
        """Encode ids after vectors, which stand before the start token and are seen by every token."""
        inner: Any = self.inner
        values = values[:, : inner.context_length]
        x = torch.cat([prompts, self.words(values)], dim=1)
        later = torch.full((x.shape[1], x.shape[1]), -torch.inf, device=x.device, dtype=inner.attn_mask.dtype)
        return self._encoded(x, values, later.triu(1))

    def _encoded(
        self, x: Float[Tensor, "B N prompt_width"], values: Int[Tensor, "B T"], mask: Float[Tensor, "N N"]
    ) -> Features:
        """Encode tokens of which the last T are those of the ids."""
        inner: Any = self.inner
        x = inner.ln_final(inner.transformer(x, attn_mask=mask))
        # The end token has the largest id of all; a row of padding alone reads its first place.
        last = values.argmax(dim=1) + x.shape[1] - values.shape[1]
        pooled = x[torch.arange(x.shape[0], device=x.device), last]  # len() would fix the number of rows in a graph
        projection = inner.text_projection
        if projection is not None:
            pooled = projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
        # Id 0 is CLIP's "!" as well as the padding: places tell real tokens, ids do not.
        return Features(pooled, x, torch.arange(x.shape[1], device=x.device) <= last[:, None])

    def layout(self) -> Layout:
        """Words and places; blocks; norm and projection."""
        start = ["token_embedding", "positional_embedding"]
        return layout_of(self.inner, embeddings=start, blocks=resblocks(self.inner), prefix="inner.")

    def adopt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take open_clip's text tower out of a whole model, in which it may stand by itself or among the rest."""
        if any(name.startswith("inner.") for name in state):
            return state
        apart = {name.removeprefix("text."): value for name, value in state.items() if name.startswith("text.")}
        others = ("visual.", "logit_scale", "logit_bias", "attn_mask")
        return {f"inner.{name}": value for name, value in (apart or state).items() if not name.startswith(others)}

    def checkpoint_activations(self) -> None:
        """As open_clip does it."""
        inner: Any = self.inner
        inner.set_grad_checkpointing(True)


def not_trimmable(text: dict[str, Any]) -> str | None:
    """Why a text tower of open_clip's would not be exact on trimmed captions, as the end of a sentence, or None."""
    if text.get("hf_model_name"):
        return "is one of Hugging Face's; use hugging_face_text."
    if text.get("embed_cls") or text.get("no_causal_mask") or text.get("pool_type", "argmax") != "argmax":
        return (
            "is not causal, or not read at an end token with the largest id; trimmed captions would not be exact. "
            "Use a CLIP model such as ViT-B-32."
        )
    return None
