"""Matching under text-driven soft masks against loops over words and tokens, and that it learns to match."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast.objectives.base import Spaces
from mmcontrast.objectives.soft_masks import SoftMasks
from mmcontrast.types import Embedded, Embeddings, Tokens

PICTURE = torch.tensor([True, True, True, False, True])
TEXT = torch.tensor([True, True, True, True, False])
WORDS = torch.tensor([3, 1, 2, 2, 3])  # real ones of each caption
GROUP = torch.tensor([0, 0, 1, 1, 2])
BOTH = [0, 1, 2]


def made(**fields: Any) -> tuple[SoftMasks, Embeddings]:
    torch.manual_seed(0)
    objective = SoftMasks(SoftMasks.Config(width=6, heads=2, group="group", **fields))
    objective.attach(Spaces(4, {}, token_widths={"image": 5, "text": 3}))
    columns = {}
    for name, present, count, width in (("image", PICTURE, 4, 5), ("text", TEXT, 3, 3)):
        values = 2 * torch.randn(5, count, width) * present[:, None, None]
        real = present[:, None].expand(-1, count)
        if name == "text":
            real = real & (torch.arange(count)[None] < WORDS[:, None])
        z = normalize(torch.randn(5, 4), dim=1) * present[:, None]
        columns[name] = Embedded(z.requires_grad_(), present, Tokens(values.requires_grad_(), real))
    return objective.eval(), Embeddings(columns, {"group": GROUP.clone()}, list("abcde"))


class Loops:
    """The fusion encoder for one picture and one caption at a time, in double precision."""

    def __init__(self, objective: SoftMasks, emb: Embeddings) -> None:
        self.weights = {name: value.detach().double() for name, value in objective.match.state_dict().items()}
        self.emb = emb

    def linear(self, name: str, x: Tensor) -> Tensor:
        return self.weights[f"{name}.weight"] @ x + self.weights[f"{name}.bias"]

    def picture(self, row: int) -> list[Tensor]:
        return [self.linear("bring_seen", each.double()) for each in self.emb.tokens("image").values[row].detach()]

    def words(self, row: int) -> list[Tensor]:
        tokens = self.emb.tokens("text").values[row, : int(WORDS[row])].detach()
        return [self.linear("bring_read", each.double()) for each in tokens]

    def attention(self, seen: list[Tensor], word: Tensor) -> list[list[float]]:
        """Of two heads of three channels."""
        shares = []
        for head in (slice(0, 3), slice(3, 6)):
            query = self.linear("query", word)[head]
            logits = [float(query @ self.linear("key", each)[head]) / math.sqrt(3) for each in seen]
            total = sum(math.exp(each) for each in logits)
            shares.append([math.exp(each) / total for each in logits])
        return shares

    def score(self, seen: list[Tensor], words: list[Tensor], shares: list[list[list[float]]]) -> float:
        total = torch.zeros(6, dtype=torch.float64)
        for word, heads in zip(words, shares, strict=True):
            mixed = torch.zeros(6, dtype=torch.float64)
            for part, share in zip((slice(0, 3), slice(3, 6)), heads, strict=True):
                for each, value in zip(share, seen, strict=True):
                    mixed[part] += each * self.linear("value", value)[part]
            x = word + self.linear("out", mixed)
            centred = x - x.mean()
            y = centred / (centred.square().mean() + 1e-5).sqrt()
            y = y * self.weights["norm.weight"] + self.weights["norm.bias"]
            hidden = self.linear("mlp.0", y)
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
            total += x + self.linear("mlp.2", hidden)
        return float(self.linear("score", total / len(words)))

    def match(self, seen: list[Tensor], words: list[Tensor]) -> float:
        return self.score(seen, words, [self.attention(seen, word) for word in words])

    def mask(self, row: int) -> list[float]:
        """One minus the mean over words of Grad-CAM, whose slope is a difference quotient."""
        seen, words = self.picture(row), self.words(row)
        shares = [self.attention(seen, word) for word in words]
        cam = [0.0] * len(seen)
        for place in range(len(words)):
            for head in range(2):
                for token in range(len(seen)):
                    own, scores = shares[place][head][token], []
                    for move in (1e-5, -1e-5):
                        shares[place][head][token] = own + move
                        scores.append(self.score(seen, words, shares))
                    shares[place][head][token] = own
                    slope = (scores[0] - scores[1]) / 2e-5
                    cam[token] += own * max(slope, 0.0) / 2 / len(words)
        return [1 - each / max(cam) for each in cam]


def nearest(emb: Embeddings, row: int) -> int | None:
    others = [j for j in range(5) if bool(TEXT[j]) and j != row and int(GROUP[j]) != int(GROUP[row])]
    return max(others, key=lambda j: float(emb["image"].z[row].detach() @ emb["text"].z[j].detach()), default=None)


@pytest.mark.parametrize("masked", [0.0, 0.5])
def test_the_loss_is_that_of_pairs_negatives_and_their_masked_pictures(masked: float) -> None:
    objective, emb = made(masked=masked)
    loops, rows = Loops(objective, emb), []
    for row in BOTH:
        wrong = nearest(emb, row)
        assert wrong is not None
        seen = loops.picture(row)
        dimmed = [share * each for share, each in zip(loops.mask(row), seen, strict=True)]
        total = 0.0
        for factor, picture in ((1.0, seen), (masked, dimmed)):
            total += factor * math.log(1 + math.exp(-loops.match(picture, loops.words(row))))
            total += factor * math.log(1 + math.exp(loops.match(picture, loops.words(wrong))))
        rows.append(total / (2 + 2 * masked))
    assert float(objective(emb).loss.detach()) == pytest.approx(sum(rows) / len(rows), rel=1e-5)


def test_the_word_that_dims_is_drawn_in_training_among_the_real_ones() -> None:
    objective, emb = made()
    torch.manual_seed(1)
    one_word = [float(objective.train()(emb).loss.detach()) for _ in range(8)]
    assert len({round(loss, 6) for loss in one_word}) > 1
    emb.tokens("text").real[:, 1:] = False  # of one word, nothing is left to chance
    once, again = (objective(emb).loss for _ in range(2))
    torch.testing.assert_close(once, again)


def test_a_row_without_negatives_counts_its_pair_alone() -> None:
    objective, emb = made(masked=0.0)
    emb.labels["group"][:] = 0
    loops = Loops(objective, emb)
    expected = [math.log(1 + math.exp(-loops.match(loops.picture(row), loops.words(row)))) for row in BOTH]
    assert float(objective(emb).loss.detach()) == pytest.approx(sum(expected) / 3, rel=1e-5)


def test_it_learns_which_belong_together() -> None:
    objective, emb = made()
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        objective(emb).loss.backward()
        optimizer.step()
    terms = objective(emb)
    assert float(terms.loss.detach()) < 0.2
    assert float(terms.scalars["matches_found"]) == float(terms.scalars["negatives_found"]) == 1.0


def test_no_gradient_passes_through_the_mask_and_some_reaches_both_towers() -> None:
    objective, emb = made()
    objective(emb).loss.backward()
    for name in ("image", "text"):
        assert emb[name].z.grad is None  # they only choose the negative
        gradient = emb.tokens(name).values.grad
        assert gradient is not None and float(gradient.abs().sum()) > 0
