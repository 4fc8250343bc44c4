"""DiffCSE: an embedding must tell which words of its sentence were exchanged."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mmcontrast import comm
from mmcontrast.config import Count, NonNegative, config
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective, Spaces
from mmcontrast.objectives.covered import Covered, covered
from mmcontrast.objectives.token_reader import TokenReader
from mmcontrast.types import Embeddings, Needs, Terms


@OBJECTIVES.register("diffcse", "replaced_token_detection")
class DiffCSE(Objective):
    r"""Conditional replaced-token detection.

    A generator G fills the hidden places of a sentence x, a discriminator D reads the result x'' with the embedding z
    of x standing before it,

        loss = -sum_i sum_t ([x''_it = x_it] log D_t(x''_i, z_i) + [x''_it != x_it] log(1 - D_t(x''_i, z_i))) / tokens
               -sum_i sum_(t hidden) log G_t(x'_i)[x_it] / hidden tokens;

    z gets a gradient of the first line alone, and G of the second: sampling x'' passes none.  In training x'' is drawn
    from G, in evaluation its likeliest.

    Needs: the embedding and the ids of ``text``, and the ids of ``masked`` for the places (``mask_tokens`` with share
    0.3, the paper's).
    Relations: DiffCSE is ``simcse`` with weight 1 plus this with the default weight.
    Source: Chuang et al. 2022, arXiv:2204.10298, section 3.  Their generator is a frozen
    pretrained DistilBERT and their discriminator a pretrained BERT; nothing pretrained is at hand here, so both are
    small and learn from the run's captions, the generator as ELECTRA's does (Clark et al. 2020, arXiv:2003.10555).
    Until it has learned something, exchanged words are easy to tell.
    """

    any_geometry: ClassVar[bool] = True

    @config
    class Config:
        """Fields of the objective."""

        text: str = "text"  # column of the sentences
        masked: str = "text.masked"  # the same with tokens hidden
        vocabulary: Count = 49408  # classes of tokens, ids modulo this; open_clip's
        longest: Count = 77  # tokens that are read
        width: Count = 128  # of generator and discriminator
        layers: Count = 2
        heads: Count = 4
        weight: NonNegative = 0.005  # factor of this objective in the run's loss; the paper's for similarity tasks

        def __post_init__(self) -> None:
            if self.width % self.heads:
                raise ValueError(f"width {self.width} is not a multiple of heads = {self.heads}.")

    generator: TokenReader
    discriminator: TokenReader

    def attach(self, spaces: Spaces) -> None:
        """Build the generator and the discriminator."""
        config = self.config
        sizes = {"longest": config.longest, "width": config.width, "heads": config.heads, "layers": config.layers}
        self.generator = TokenReader(config.vocabulary + 1, **sizes)  # the last class is the mask
        self.fill = nn.Linear(config.width, config.vocabulary)
        self.discriminator = TokenReader(config.vocabulary, **sizes)
        self.condition = nn.Linear(spaces.dim, config.width)
        self.judge = nn.Linear(config.width, 1)

    def needs(self) -> Needs:
        """The embedding, and the ids of both columns."""
        return Needs(embeddings=(self.config.text,), inputs=tuple(sorted((self.config.text, self.config.masked))))

    def forward(self, emb: Embeddings) -> Terms:
        """Return the sum of both terms, and how the two networks do."""
        config = self.config
        text, masked = emb.input(config.text), emb.input(config.masked)
        sentences = covered(text, masked, vocabulary=config.vocabulary, longest=config.longest)
        logits = self.generated(sentences.classes, sentences.real, sentences.hidden)
        exchanged_for = self._drawn(logits)[: int(sentences.hidden.sum())]
        drawn = sentences.classes.masked_scatter(sentences.hidden, exchanged_for)
        exchanged = (drawn != sentences.classes).float()
        judged = self.judged(drawn, sentences.real, emb[config.text].z[sentences.rows].float())
        real = sentences.real.float()
        told = binary_cross_entropy_with_logits(judged, exchanged, reduction="none")
        detection, generation = _token_mean(told, real), _filling(logits, sentences)
        scalars = {
            "detection": detection.detach(),
            "generation": generation.detach(),
            "exchanged": _token_mean(exchanged, real),
            "exchanged_found": _token_mean((judged.detach() > 0).float(), real * exchanged),
        }
        return Terms(loss=detection + generation, scalars=scalars)

    def generated(
        self, classes: Int[Tensor, "R L"], real: Bool[Tensor, "R L"], hidden: Bool[Tensor, "R L"]
    ) -> Float[Tensor, "hidden classes"]:
        """Logits of each hidden token, of one row after the other; of one token where none is hidden."""
        vectors = self.generator(torch.where(hidden, self.config.vocabulary, classes), real)
        return self.fill(vectors[hidden] if hidden.any() else vectors[:1, 0])

    def judged(
        self, classes: Int[Tensor, "R L"], real: Bool[Tensor, "R L"], z: Float[Tensor, "R D"]
    ) -> Float[Tensor, "R L"]:
        """Logits of having been exchanged."""
        return self.judge(self.discriminator(classes, real, self.condition(z))).squeeze(2)

    @torch.no_grad()
    def _drawn(self, logits: Float[Tensor, "N classes"]) -> Int[Tensor, " N"]:
        if self.training:  # Gumbel: the largest of the logits plus noise is a draw from their softmax
            logits = logits - torch.rand_like(logits).clamp_min(1e-20).log().neg().log()
        return logits.argmax(dim=1)


def _filling(logits: Float[Tensor, "N classes"], sentences: Covered) -> Float[Tensor, ""]:
    classes = sentences.classes[sentences.hidden]
    weight = torch.ones(len(logits), device=logits.device)
    if len(classes) == 0:  # one token that counts nothing: every rank takes the same way
        classes, weight = sentences.classes[0, :1], 0 * weight
    return comm.row_mean(cross_entropy(logits, classes, reduction="none"), weight)


def _token_mean(values: Float[Tensor, "R L"], weight: Float[Tensor, "R L"]) -> Float[Tensor, ""]:
    return comm.row_mean(values.flatten(), weight.flatten())
