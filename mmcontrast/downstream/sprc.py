"""SPRC: a reference becomes a sentence-level prompt, vectors that the text tower reads before the text of change.

Letters: B triplets of a batch, D coordinates, T tokens, K prompts, W width of a word's vector, H hidden width.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import mse_loss, pad

from mmcontrast.config import Count, NonNegative, Positive, config
from mmcontrast.downstream import DOWNSTREAM
from mmcontrast.downstream.base import About, Composer, Said
from mmcontrast.downstream.combiner import contrast
from mmcontrast.downstream.descent import descend
from mmcontrast.downstream.triplets import Triplets
from mmcontrast.errors import HeadError
from mmcontrast.evaluate.encoder import TowerEncoder
from mmcontrast.model import Model
from mmcontrast.towers import TOWERS
from mmcontrast.towers.prompts import ReadsPrompts

TEMPERATURE = 0.07  # at the start, as theirs; learned
INFERENCE_ROWS = 256  # queries at a time
HEAD_WIDTH = 64  # of one head of attention


class PromptWriter(nn.Module):
    """K learned queries look at the reference's point and the text's tokens; what they become are the prompts."""

    def __init__(self, config: Any, *, dim: int, token_width: int, prompt_width: int) -> None:
        super().__init__()
        hidden = config.hidden
        self.queries = nn.Parameter(0.02 * torch.randn(config.prompts, hidden))
        self.reference = nn.Sequential(nn.Linear(dim, hidden), nn.LayerNorm(hidden))
        self.token = nn.Sequential(nn.Linear(token_width, hidden), nn.LayerNorm(hidden))
        layer = nn.TransformerEncoderLayer(
            hidden, max(1, hidden // HEAD_WIDTH), 4 * hidden, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.prompts = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, prompt_width))

    def forward(
        self, reference: Float[Tensor, "B D"], tokens: Float[Tensor, "B T token"], real: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B K W"]:
        """The prompts of each pair."""
        queries = self.queries.expand(len(reference), -1, -1)
        count = queries.shape[1] + 1
        x = torch.cat([queries, self.reference(reference)[:, None], self.token(tokens)], dim=1)
        x = self.layers(x, src_key_padding_mask=~pad(real, (count, 0), value=True))
        prompts: Tensor = self.prompts(x[:, : count - 1])
        return prompts


@DOWNSTREAM.register("sprc")
class SPRC(Composer):
    """A sentence-level prompt in the place of a mixture of two points.

        q = text([p; t]),    p = writer(r, t),

        loss = contrast(q, target) + relative * contrast(text([p'; t]), target) + alignment * |mean p - mean p'|^2 / W,

    with p' prompts that are the same for every pair, learned by the second term alone.  The text tower is frozen;
    gradients go through it to the prompts.  Theirs is BLIP-2's Q-Former, which is trained as well and reads all of the
    reference's patches; this one reads the reference's point, so that rows of an index can be references.

    Source: Bai et al. 2024, arXiv:2310.05473; the terms and their weights as in the authors' code.
    """

    @config
    class Config:
        """Fields of the head."""

        source: str  # rows of the modality: embeddings, or anything that embed reads
        triplets: Path | None = None  # JSON lines of reference, text, target; null: those of the source's reader
        keep: str | None = None  # draw triplets: the target has the reference's value of this field, and another text
        modality: Literal["image", "audio"] = "image"  # of references and targets
        prompts: Count = 8  # K; theirs 32
        layers: Count = 2  # of the writer
        hidden: Count = 256  # H
        dropout: NonNegative = 0.1
        relative: NonNegative = 0.4  # weight of the shared prompts' contrast
        alignment: NonNegative = 0.4  # weight of the distance between the two means
        steps: Count = 400
        batch_rows: Count = 128
        lr: Positive = 5e-4
        seed: int = 0  # of drawn triplets, batches, dropout and weights

        def __post_init__(self) -> None:
            if self.triplets is not None and self.keep is not None:
                raise ValueError("give triplets or keep, not both.")
            if self.hidden % max(1, self.hidden // HEAD_WIDTH):
                raise ValueError(f"hidden: {self.hidden} is not a multiple of {HEAD_WIDTH}.")

    def __init__(self, config: Any, *, about: About) -> None:
        super().__init__(config, about=about)
        width = about.sizes["prompt_width"]
        self.writer = PromptWriter(config, dim=about.dim, token_width=about.sizes["token_width"], prompt_width=width)
        self.shared = nn.Parameter(torch.zeros(config.prompts, width))  # p'
        self.logit_scale = nn.Parameter(torch.full((1,), -math.log(TEMPERATURE)))

    @classmethod
    def sizes(cls, config: Any, encoder: TowerEncoder) -> dict[str, int]:
        """Widths of the text tower.

        Raises:
            HeadError: it reads no prompts.
        """
        tower: Any = encoder.model.towers["text"]
        if not isinstance(tower, ReadsPrompts):
            able = [name for name in TOWERS.names() if issubclass(TOWERS.get(name), ReadsPrompts)]
            raise HeadError(
                f"sprc puts vectors before the words: the text tower '{tower.config.registry_name}' reads none; "
                f"{', '.join(able)} do. The head 'combiner' needs points alone."
            )
        ids = encoder.stack("text", ["a"])
        tokens = _read(encoder.model, ids)[0]
        return {"prompt_width": tower.words(ids).shape[-1], "token_width": tokens.shape[-1]}

    def composed(self, reference: Float[Tensor, "B D"], said: Said) -> Float[Tensor, "B D"]:
        """Queries, to be compared with targets."""
        parts = []
        for start in range(0, len(reference), INFERENCE_ROWS):
            part = slice(start, start + INFERENCE_ROWS)
            ids = said.encoder.stack("text", said.texts[part])
            tokens, real = _read(said.encoder.model, ids)
            prompts = self.writer(reference[part], tokens, real)
            parts.append(_prompted(said.encoder.model, ids, prompts))
        return torch.cat(parts)

    def fit(self, z: Float[Tensor, "N D"], said: Said, triplets: Triplets) -> None:
        """Train on triplets."""
        references, targets = torch.tensor(triplets.references), torch.tensor(triplets.targets)
        model, ids = said.encoder.model, said.encoder.stack("text", said.texts)

        def loss() -> Tensor:
            batch = torch.randperm(len(triplets))[: self.config.batch_rows]
            some = _trimmed(ids[batch.to(ids.device)])
            return self.loss(model, z[references[batch]], some, z[targets[batch]], targets[batch])

        with torch.no_grad():  # prompts begin as large as words
            tower: Any = model.towers["text"]
            size = tower.words(_trimmed(ids[: self.config.batch_rows])).std().cpu()
            self.shared.copy_(size * torch.randn_like(self.shared))
            last: Any = self.writer.prompts[1]
            last.weight.mul_(size * math.sqrt(3))  # from a uniform draw of deviation 1 / sqrt(3 H)
            last.bias.zero_()
        descend(self.parameters(), loss, steps=self.config.steps, lr=self.config.lr)

    def loss(
        self,
        model: Model,
        reference: Float[Tensor, "B D"],
        ids: Int[Tensor, "B T"],
        target: Float[Tensor, "B D"],
        target_ids: Int[Tensor, " B"],
    ) -> Float[Tensor, ""]:
        """The three terms of a batch."""
        scale, config = self.logit_scale.exp(), self.config
        prompts = self.writer(reference, *_read(model, ids))
        shared = self.shared.expand(len(ids), -1, -1)
        own = contrast(_prompted(model, ids, prompts), target, target_ids, scale=scale)
        relative = contrast(_prompted(model, ids, shared), target, target_ids, scale=scale)
        apart = mse_loss(prompts.mean(dim=1), shared.detach().mean(dim=1))
        return own + config.relative * relative + config.alignment * apart


def _read(model: Model, ids: Int[Tensor, "B T"]) -> tuple[Float[Tensor, "B T token"], Bool[Tensor, "B T"]]:
    """A text's tokens as the frozen tower leaves them, and which are real, on the CPU."""
    with torch.no_grad():
        features: Any = model.towers["text"](ids)
    real = (
        torch.ones(features.tokens.shape[:2], dtype=torch.bool) if features.token_mask is None else features.token_mask
    )
    return features.tokens.float().cpu(), real.cpu()


def _prompted(model: Model, ids: Int[Tensor, "B T"], prompts: Float[Tensor, "B K W"]) -> Float[Tensor, "B D"]:
    """Points of prompted texts on the CPU, wherever the towers are."""
    return model.encode_prompted(ids, prompts.to(ids.device)).float().cpu()


def _trimmed(ids: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """Without columns of padding alone."""
    return ids[:, : int((ids != 0).any(dim=0).nonzero().max()) + 1]
