"""Write the caption of a picture or a sound: CoCa's and CapPa's generative terms."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmcontrast import comm
from mmcontrast.config import Count, Fraction, NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, Spaces
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("captioning", "coca", "cappa")
class Captioning(Objective):
    r"""Cross entropy of each token of a caption, read off the tokens of a picture or sound by a small decoder.

        loss = -sum_i sum_t log p(y_it | y_i<t, x_i) / number of tokens,

    over the rows with both columns; the end of a caption is a token too.  In training, a share ``parallel`` of the
    rows is told none of its tokens and asked for all at once (CapPa), which leaves nothing to copy from.  Ids are
    taken modulo ``vocabulary``: an open_clip tokenizer fits one of its own size, hashed words fit any.

    Needs: the tokens of ``column`` and the ids of ``text``.
    Relations: CoCa is ``infonce`` with weight 1 plus this with weight 2; Cap is this alone, CapPa with parallel 0.75.
    Source: Yu et al. 2022 (CoCa), arXiv:2205.01917; Tschannen et al. 2023 (CapPa), arXiv:2306.07915,
    section 3.
    """

    any_geometry: ClassVar[bool] = True

    @config
    class Config:
        """Fields of the objective."""

        column: str = "image"  # what the captions are about; its tower must return tokens
        text: str = "text"  # column of the captions' ids; 0 is padding
        vocabulary: Count = 49408  # classes of tokens; open_clip's
        longest: Count = 77  # tokens that are predicted
        width: Count = 256  # of the decoder
        layers: Count = 2
        heads: Count = 4
        parallel: Fraction = 0.0  # share of the rows without their own tokens; CapPa's is 0.75
        weight: NonNegative = 1.0  # factor of this objective in the run's loss; CoCa's is 2

        def __post_init__(self) -> None:
            if self.width % self.heads:
                raise ValueError(f"width {self.width} is not a multiple of heads = {self.heads}.")

    decoder: nn.TransformerDecoder

    def attach(self, spaces: Spaces) -> None:
        """Build the decoder over the column's tokens."""
        config = self.config
        modality = config.column.partition(".")[0]
        # Classes after the vocabulary's: the caption's end, its start, and the mask of parallel prediction.
        self.embed = nn.Embedding(config.vocabulary + 3, config.width)
        self.positions = nn.Parameter(0.02 * torch.randn(config.longest, config.width))
        self.bring = nn.Linear(spaces.token_widths[modality], config.width)
        layer = nn.TransformerDecoderLayer(
            config.width,
            config.heads,
            4 * config.width,
            dropout=0.0,
            norm_first=True,
            batch_first=True,
            activation="gelu",
        )
        self.decoder = nn.TransformerDecoder(layer, config.layers, norm=nn.LayerNorm(config.width))
        self.out = nn.Linear(config.width, config.vocabulary + 1)
        nn.init.normal_(self.embed.weight, std=0.02)

    def needs(self) -> Needs:
        """Tokens of one column, ids of the other."""
        return Needs(embeddings=(), tokens=(self.config.column,), inputs=(self.config.text,))

    def forward(self, emb: Embeddings) -> Terms:
        """Return the mean over all ranks' tokens, and the share of them that is found."""
        tokens, text = emb.tokens(self.config.column), emb.input(self.config.text)
        both = tokens.real.any(dim=1) & text.present
        rows = both.nonzero().squeeze(1)
        weight = torch.ones(max(len(rows), 1), device=both.device)
        if len(rows) == 0:  # one row of nothing keeps every rank on the same way through the weights
            rows, weight = rows.new_zeros(1), 0 * weight
        targets = self._targets(text.values, (text.present.cumsum(0) - 1)[rows].clamp_min(0))
        real = targets >= 0
        logits = self._decode(tokens.values[rows], tokens.real[rows], targets.clamp_min(0))
        losses = cross_entropy(logits.flatten(0, 1), targets.clamp_min(0).flatten(), reduction="none").view_as(real)
        count = real.sum(dim=1)
        per_row = (losses * real).sum(dim=1) / count
        found = ((logits.argmax(dim=-1) == targets) & real).sum(dim=1) / count
        weight = weight * count
        loss = comm.row_mean(per_row, weight)
        return Terms(loss, {"accuracy": comm.all_mean(comm.row_mean(found, weight))})

    @torch.no_grad()
    def write(
        self, seen: Float[Tensor, "R S C"], real: Bool[Tensor, "R S"], *, beams: int = 1, longest: int | None = None
    ) -> Int[Tensor, "R T"]:
        """Write the caption of every row, token by token.

        ``beams`` beginnings of the highest probability go on at each token, and that of the highest mean log
        probability a token, its end included, is the caption; with one beam each token is the most probable one.

        Args:
            seen: tokens of the column's tower; ``real`` says which of them are there.
            longest: tokens at most; null: as many as were trained.

        Returns:
            Ids of the vocabulary; -1 after a caption's end.
        """
        rows, end, device = len(seen), self.config.vocabulary, seen.device
        seen, real = seen.repeat_interleave(beams, dim=0), real.repeat_interleave(beams, dim=0)
        told = torch.zeros(rows, beams, 0, dtype=torch.int64, device=device)
        scores = torch.full((rows, beams), -torch.inf, device=device)
        scores[:, 0] = 0  # all beams start alike: one of them is enough
        done = torch.zeros(rows, beams, dtype=torch.bool, device=device)
        for _ in range(min(longest or self.config.longest, self.config.longest)):
            asked = torch.cat([told, told.new_zeros(rows, beams, 1)], dim=2).flatten(0, 1)
            found = self._decode(seen, real, asked, last=True)[:, 0].log_softmax(dim=1).view(rows, beams, -1)
            found = torch.where(done[..., None], -torch.inf, found)
            found[..., end] = torch.where(done, 0.0, found[..., end])  # a finished caption stays as it is
            scores, places = (scores[..., None] + found).flatten(1).topk(beams, dim=1)
            parent, token = places // found.shape[2], places % found.shape[2]
            told = told.gather(1, parent[..., None].expand(-1, -1, told.shape[2]))
            told = torch.cat([told, token[..., None]], dim=2)
            done = token == end
            if done.all():
                break
        length = (told != end).sum(dim=2) + done
        best = told[torch.arange(rows, device=device), (scores / length).argmax(dim=1)]
        return torch.where(best == end, -1, best)

    def _targets(self, ids: Int[Tensor, "P L"], places: Int[Tensor, " R"]) -> Int[Tensor, "R T"]:
        """Classes of each row's tokens and of its end; -1 after it."""
        if len(ids) == 0:
            ids = ids.new_zeros(1, 1)
        ids = ids[places][:, : self.config.longest - 1]
        # Id 0 is padding, and some tokenizers' word as well: what counts is the place of the last other id.
        length = ((ids != 0) * torch.arange(1, ids.shape[1] + 1, device=ids.device)).amax(dim=1)
        place = torch.arange(ids.shape[1] + 1, device=ids.device)
        padded = torch.cat([ids % self.config.vocabulary, ids.new_zeros(len(ids), 1)], dim=1)
        padded = torch.where(place == length[:, None], self.config.vocabulary, padded)
        return torch.where(place <= length[:, None], padded, -1)

    def _decode(
        self,
        seen: Float[Tensor, "R S C"],
        real: Bool[Tensor, "R S"],
        targets: Int[Tensor, "R T"],
        *,
        last: bool = False,
    ) -> Float[Tensor, "R T classes"]:
        rows, length = targets.shape
        end, device = self.config.vocabulary, targets.device
        told = torch.cat([targets.new_full((rows, 1), end + 1), targets[:, :-1]], dim=1)
        causal = torch.ones(length, length, dtype=torch.bool, device=device).triu(1)[None].expand(rows, -1, -1)
        if self.training and self.config.parallel:
            at_once = torch.rand(rows, device=device) < self.config.parallel
            told = torch.where(at_once[:, None], end + 2, told)
            causal = causal & ~at_once[:, None, None]
        real = real | ~real.any(dim=1, keepdim=True)  # a row of nothing reads nothing's zeros
        dtype = seen.dtype
        with torch.autocast(device.type, dtype=dtype, enabled=dtype in (torch.bfloat16, torch.float16)):
            x = self.embed(told) + self.positions[:length]
            x = self.decoder(
                x,
                self.bring(seen),
                tgt_mask=causal.repeat_interleave(self.config.heads, dim=0),
                memory_key_padding_mask=~real,
            )
            return self.out(x[:, -1:] if last else x).float()
