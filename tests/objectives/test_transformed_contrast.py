"""LAION-CLAP's four terms against plain loops."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from mmcontrast.objectives.base import Spaces
from mmcontrast.objectives.infonce import InfoNCE
from mmcontrast.objectives.transformed_contrast import TransformedContrast
from tests.objectives.made_up import made_up

PAIR = ("audio", "text")


def built(**fields: object) -> TransformedContrast:
    torch.manual_seed(0)
    objective = TransformedContrast(TransformedContrast.Config(temperature=0.2, **fields))
    objective.attach(Spaces(8, {}))
    return objective.eval()


def test_four_cross_entropies_of_the_rows_with_both() -> None:
    objective, emb = built(), made_up(*PAIR, absent=0.3)
    f, g = objective.transforms
    audio, text = (emb[name] for name in PAIR)
    with torch.no_grad():
        a, b = audio.z.float(), text.z.float()
        matrices = [5 * a @ g(b).T, 5 * f(a) @ b.T]
    terms = []
    for i in range(len(a)):
        if not (audio.present[i] and text.present[i]):
            continue
        here, there = audio.present.nonzero().flatten(), text.present.nonzero().flatten()
        for matrix in matrices:
            terms.append(cross_entropy(matrix[i, there], (there == i).nonzero().flatten()[0]))
            terms.append(cross_entropy(matrix[here, i], (here == i).nonzero().flatten()[0]))
    assert float(objective(emb).loss.detach()) == pytest.approx(float(torch.stack(terms).mean()), rel=1e-5)


def test_with_identities_it_is_infonce() -> None:
    objective, emb = built(), made_up(*PAIR, absent=0.3)
    for index in range(2):
        objective.transforms[index] = torch.nn.Identity()
    infonce = InfoNCE(InfoNCE.Config(pairs=(PAIR,), temperature=0.2))
    assert float(objective(emb).loss.detach()) == pytest.approx(float(infonce(emb).loss.detach()), rel=1e-5)
