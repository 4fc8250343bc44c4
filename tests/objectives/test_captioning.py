"""Captioning against plain loops over rows and tokens, and that it learns to read."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mmcontrast.objectives.base import Spaces
from mmcontrast.objectives.captioning import Captioning
from mmcontrast.types import Column, Embedded, Embeddings, Tokens

IDS = torch.tensor([[5, 9, 0, 0], [14, 3, 7, 2], [6, 0, 8, 0]])  # of the rows with a text
TEXT = torch.tensor([True, False, True, True])
PICTURE = torch.tensor([True, True, True, False])


def made(**fields: Any) -> tuple[Captioning, Embeddings]:
    torch.manual_seed(0)
    objective = Captioning(Captioning.Config(vocabulary=11, width=8, heads=2, layers=1, **fields))
    objective.attach(Spaces(8, {}, token_widths={"image": 6}))
    torch.nn.init.normal_(objective.embed.weight)
    values = torch.randn(4, 3, 6) * PICTURE[:, None, None]
    real = torch.tensor([[True, True, True], [True] * 3, [True, True, False], [True] * 3]) & PICTURE[:, None]
    columns = {"image": Embedded(torch.zeros(4, 8), PICTURE, Tokens(values, real))}
    return objective.eval(), Embeddings(columns, {}, list("abcd"), inputs={"text": Column("text", IDS, TEXT)})


def log_probability(objective: Captioning, emb: Embeddings, row: int, told: list[int], token: int) -> float:
    """Of one token after some others, decoded by itself: nothing later can be seen."""
    tokens = emb.tokens("image")
    told_ids = torch.tensor([[*told, 0]])  # the last target is not told
    real = tokens.real[row]
    with torch.no_grad():
        logits = objective._decode(tokens.values[row : row + 1, real], real[real][None], told_ids)
    return float(logits[0, -1].double().log_softmax(dim=0)[token])


def test_the_loss_is_the_mean_over_tokens_of_what_the_ones_before_foretell() -> None:
    objective, emb = made()
    captions = {0: [5, 9], 2: [3, 3, 7, 2]}  # rows with both; 14 is 3 modulo 11
    terms = []
    for row, ids in captions.items():
        targets = [*ids, 11]  # the end is a token
        for place, token in enumerate(targets):
            terms.append(-log_probability(objective, emb, row, targets[:place], token))
    assert len(terms) == 8
    assert float(objective(emb).loss.detach()) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_padding_between_words_is_a_word_and_long_captions_are_cut() -> None:
    objective, _ = made(longest=3)
    found = objective._targets(IDS, torch.tensor([2, 1]))
    assert found.tolist() == [[6, 11, -1], [3, 3, 11]]  # one place is kept for the end
    whole, _ = made()
    assert whole._targets(IDS, torch.tensor([2])).tolist() == [[6, 0, 8, 11, -1]]


def test_parallel_rows_are_told_nothing() -> None:
    objective, emb = made(parallel=1.0)
    objective.train()
    before = objective(emb).loss
    with torch.no_grad():
        objective.embed.weight[:12] = 3.0  # of all words and the end
    torch.testing.assert_close(objective(emb).loss, before)


def test_it_learns_captions_from_tokens() -> None:
    objective, emb = made()
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.02)
    first = float(objective(emb).loss.detach())
    assert first == pytest.approx(math.log(12), rel=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        objective(emb).loss.backward()
        optimizer.step()
    terms = objective(emb)
    assert float(terms.loss.detach()) < 0.2 * first and float(terms.scalars["accuracy"]) > 0.9
    tokens = emb.tokens("image")
    for beams in (1, 3):  # and writes what it has learned
        found = objective.write(tokens.values[[0, 2]], tokens.real[[0, 2]], beams=beams)
        assert [[each for each in row if each >= 0] for row in found.tolist()] == [[5, 9], [3, 3, 7, 2]]


def best_by_hand(objective: Captioning, emb: Embeddings, row: int, longest: int) -> tuple[float, list[int]]:
    """The caption of the highest mean log probability a token, among all there are."""
    end = objective.config.vocabulary
    finished: list[tuple[float, list[int]]] = []
    beginnings: list[tuple[float, list[int]]] = [(0.0, [])]
    for place in range(longest):
        longer = [
            (total + log_probability(objective, emb, row, told, token), [*told, token])
            for total, told in beginnings
            for token in range(end + 1)
        ]
        finished += [(total / len(told), told) for total, told in longer if told[-1] == end or place == longest - 1]
        beginnings = [(total, told) for total, told in longer if told[-1] != end]
    return max(finished)


def test_beams_that_hold_everything_find_the_most_probable_caption_and_one_beam_goes_step_by_step() -> None:
    torch.manual_seed(0)
    objective = Captioning(Captioning.Config(vocabulary=2, width=8, heads=2, layers=1, longest=3))
    objective.attach(Spaces(8, {}, token_widths={"image": 6}))
    torch.nn.init.normal_(objective.embed.weight)
    _, emb = made()
    objective.eval()
    tokens = emb.tokens("image")
    rows = [0, 1, 2]
    wide = objective.write(tokens.values[rows], tokens.real[rows], beams=27)
    greedy = objective.write(tokens.values[rows], tokens.real[rows])
    for place, row in enumerate(rows):
        _, expected = best_by_hand(objective, emb, row, 3)
        assert [each for each in wide[place].tolist() if each >= 0] == [each for each in expected if each < 2]
        told: list[int] = []
        for _ in range(3):
            told.append(max(range(3), key=lambda token: log_probability(objective, emb, row, told, token)))
            if told[-1] == 2:
                break
        assert [each for each in greedy[place].tolist() if each >= 0] == [each for each in told if each < 2]
    assert objective.write(tokens.values[rows], tokens.real[rows], longest=1).shape == (3, 1)
