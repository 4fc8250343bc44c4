"""SigLIP's text tower: every caption filled up to its full length, the last place read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.functional import pad

from mmcontrast.config import Count, NonNegativeCount, OneOf, config
from mmcontrast.specs import TextSpec
from mmcontrast.tokenizers import TOKENIZERS
from mmcontrast.tokenizers.hugging_face import HuggingFace
from mmcontrast.towers import TOWERS
from mmcontrast.towers.base import Layout, Tower
from mmcontrast.towers.hugging_face_folder import checkpoint_transformers, read_model, transformers_layout
from mmcontrast.types import Features


@TOWERS.register("siglip_text")
class SiglipText(Tower):
    """SiglipTextModel of a local folder: its weights when it holds them, else random ones from its config.json.

    Padding is text to this tower: it attends to it, and reads a caption at the last place, which padding fills.
    Captions that come trimmed are filled up again.  The projection is part of the tower; use the ``identity`` head to
    keep exactly its embedding.

    Source: Zhai et al. 2023, arXiv:2303.15343, section 4.
    """

    @config
    class Config:
        """Fields of the tower."""

        modality: ClassVar[str] = "text"
        folder: Path  # config.json, and model.safetensors for trained weights
        tokenizer: Annotated[Any, OneOf(TOKENIZERS)] | None = None  # null: the hugging_face one of the same folder
        context_length: Count = 64  # tokens of every caption, padding included
        pad_id: NonNegativeCount = 1  # the model's own id of what fills a caption up; SigLIP's is its end token
        mask_padding: bool = False  # keep padding out of attention, as tokenizers of transformers ask that give a mask

        def input_spec(self) -> TextSpec:
            """Ids of the tokenizer."""
            tokenizer = self.tokenizer or HuggingFace.Config(folder=self.folder)
            return TextSpec(tokenizer=tokenizer, context_length=self.context_length)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.inner: nn.Module = read_model(config.folder)
        settings: Any = self.inner.config
        self.width = int(settings.projection_size)
        self._token_width = int(settings.hidden_size)

    @property
    def token_width(self) -> int:
        """Width of the transformer, before the projection."""
        return self._token_width

    def forward(self, values: Int[Tensor, "B T"]) -> Features:
        """Encode ids; 0 is padding, the model's own ids are one less."""
        values = pad(values, (0, self.config.context_length - values.shape[1]))
        ids = (values - 1).masked_fill(values == 0, self.config.pad_id)
        if self.config.mask_padding:
            real = values != 0
            real[:, 0] |= ~real.any(dim=1)  # a row of padding alone (an absent cell) keeps one token
            out = self.inner(input_ids=ids, attention_mask=real.long())
        else:
            out = self.inner(input_ids=ids)
        return Features(out.pooler_output, out.last_hidden_state)

    def layout(self) -> Layout:
        """Words and places; blocks; norm and projection."""
        return transformers_layout(self.inner) or super().layout()

    def checkpoint_activations(self) -> None:
        """As transformers does it."""
        checkpoint_transformers(self.inner, self.config.folder)
