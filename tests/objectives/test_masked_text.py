"""Objectives over captions with hidden tokens, against loops over tokens."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from mmcontrast.objectives.base import Objective, Spaces
from mmcontrast.objectives.covered import covered
from mmcontrast.objectives.diffcse import DiffCSE
from mmcontrast.objectives.masked_language import MaskedLanguage
from mmcontrast.types import Column, Embedded, Embeddings, Tokens
from tests.objectives.made_up import log_sum

TEXT = torch.tensor([True, False, True, True])
MASKED = torch.tensor([True, False, True, False])
IDS = torch.tensor([[5, 9, 0, 0], [14, 3, 7, 2], [6, 4, 8, 0]])  # of the rows with a text
HIDDEN = torch.tensor([[5, 99, 0, 0], [99, 3, 12, 2]])  # of the rows with the masked one
CHANGED = {0: {1: 9}, 2: {0: 3, 2: 7}}  # row -> place -> class beneath; 14 is 3 modulo 11


def emb_of(objective: Objective, *, width: int = 6) -> Embeddings:
    generator = torch.Generator().manual_seed(1)
    real = torch.zeros(4, 4, dtype=torch.bool)
    real[0, :2], real[2] = True, True
    values = torch.randn(4, 4, width, generator=generator) * real[:, :, None]
    z = normalize(torch.randn(4, 5, generator=generator), dim=1) * TEXT[:, None]
    columns = {
        "text.masked": Embedded(torch.zeros(4, 5), MASKED, Tokens(values.requires_grad_(), real)),
        "text": Embedded(z.requires_grad_(), TEXT),
    }
    inputs = {"text": Column("text", IDS, TEXT), "text.masked": Column("text", HIDDEN, MASKED)}
    return Embeddings(columns, {}, list("abcd"), objective.needs(), inputs=inputs)


def built(kind: Any, **fields: Any) -> Any:
    torch.manual_seed(0)
    objective = kind(kind.Config(vocabulary=11, **fields))
    objective.attach(Spaces(5, {}, token_widths={"text": 6}))
    return objective.eval()


def fit(objective: Objective, emb: Embeddings, *, steps: int) -> dict[str, float]:
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        objective(emb).loss.backward()
        optimizer.step()
    terms = objective(emb)
    return {"loss": float(terms.loss.detach()), **{name: float(value) for name, value in terms.scalars.items()}}


def test_hidden_places_are_those_whose_ids_differ() -> None:
    found = covered(Column("text", IDS, TEXT), Column("text", HIDDEN, MASKED), vocabulary=11)
    assert found.rows.tolist() == [0, 2]
    assert found.classes.tolist() == [[5, 9, 0, 0], [3, 3, 7, 2]]
    assert found.real.sum(dim=1).tolist() == [2, 4]
    assert found.hidden.nonzero().tolist() == [[0, 1], [1, 0], [1, 2]]


def test_masked_language_is_the_mean_over_hidden_tokens() -> None:
    objective = built(MaskedLanguage)
    emb = emb_of(objective)
    weights = {name: value.detach().double() for name, value in objective.read.state_dict().items()}
    terms = []
    for row, places in CHANGED.items():
        for place, token in places.items():
            x = emb.tokens("text.masked").values[row, place].detach().double()
            x = weights["0.weight"] @ x + weights["0.bias"]
            x = torch.stack([each * 0.5 * (1 + math.erf(float(each) / math.sqrt(2))) for each in x])
            x = (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt() * weights["2.weight"] + weights["2.bias"]
            logits = [float(weights["3.weight"][c] @ x + weights["3.bias"][c]) for c in range(11)]
            terms.append(log_sum(logits) - logits[token])
    assert float(objective(emb).loss.detach()) == pytest.approx(sum(terms) / 3, rel=1e-5)


def test_masked_language_learns_to_fill() -> None:
    objective = built(MaskedLanguage)
    found = fit(objective, emb_of(objective), steps=40)
    assert found["loss"] < 0.3 and found["accuracy"] == pytest.approx(1.0)


def small_diffcse() -> DiffCSE:
    objective: DiffCSE = built(DiffCSE, width=8, heads=2, layers=1, longest=6)
    for reader in (objective.generator, objective.discriminator):
        torch.nn.init.normal_(reader.embed.weight)
    return objective


def test_diffcse_tells_what_a_generator_exchanged() -> None:
    objective = small_diffcse()
    emb = emb_of(objective)
    told, filled = [], []
    with torch.no_grad():
        for row, sentence in ((0, [5, 9]), (2, [3, 3, 7, 2])):
            real = torch.ones(1, len(sentence), dtype=torch.bool)
            hidden = torch.tensor([[place in CHANGED[row] for place in range(len(sentence))]])
            guesses = objective.generated(torch.tensor([sentence]), real, hidden).double()
            drawn = list(sentence)
            for logits, (place, token) in zip(guesses, CHANGED[row].items(), strict=True):
                drawn[place] = int(logits.argmax())
                filled.append(log_sum(logits.tolist()) - float(logits[token]))
            judged = objective.judged(torch.tensor([drawn]), real, emb["text"].z[row : row + 1])[0].double()
            for place, token in enumerate(sentence):
                share = 1 / (1 + math.exp(-float(judged[place])))
                told.append(-math.log(share if drawn[place] != token else 1 - share))
    assert len(told) == 6 and len(filled) == 3
    assert float(objective(emb).loss.detach()) == pytest.approx(sum(told) / 6 + sum(filled) / 3, rel=1e-5)


def test_the_embedding_learns_from_detection_alone_and_the_generator_from_filling_alone() -> None:
    objective = small_diffcse()
    emb = emb_of(objective)
    objective(emb).loss.backward()
    gradient = emb["text"].z.grad
    assert gradient is not None and gradient[[0, 2]].abs().sum(dim=1).gt(0).all()
    assert not gradient[[1, 3]].any()  # no text, and no masked one
    before = {name: each.grad.clone() for name, each in objective.named_parameters() if each.grad is not None}
    assert set(before) == set(dict(objective.named_parameters()))
    with torch.no_grad():
        objective.judge.weight.mul_(2.0)
    objective.zero_grad()
    objective(emb).loss.backward()
    for name, each in objective.named_parameters():
        assert each.grad is not None
        assert torch.equal(each.grad, before[name]) == name.startswith(("generator.", "fill."))


def test_in_training_words_are_drawn_as_likely_as_the_generator_says() -> None:
    objective = small_diffcse().train()
    torch.manual_seed(0)
    logits = torch.tensor([2.0, 0.0, 1.0]).log_softmax(dim=0)
    drawn = objective._drawn(logits.expand(4000, 3))
    shares = torch.bincount(drawn, minlength=3) / 4000
    torch.testing.assert_close(shares, logits.exp(), atol=0.03, rtol=0.0)  # four standard errors
