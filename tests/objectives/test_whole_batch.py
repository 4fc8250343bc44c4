"""Objectives of the whole batch's statistics against their formulas, and classification."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast.errors import ConfigError
from mmcontrast.objectives.alignment_uniformity import AlignmentUniformity
from mmcontrast.objectives.barlow_twins import BarlowTwins
from mmcontrast.objectives.base import Spaces
from mmcontrast.objectives.catlip import CatLIP
from mmcontrast.objectives.cyclip import CyCLIP
from mmcontrast.objectives.infonce import InfoNCE
from mmcontrast.objectives.matryoshka import Matryoshka
from mmcontrast.objectives.vicreg import VICReg
from mmcontrast.objectives.von_neumann_entropy import VonNeumannEntropy
from mmcontrast.objectives.whitening import InverseRoot, Whitening
from mmcontrast.types import Embedded, Embeddings
from tests.objectives.made_up import Cells, log_sum, made_up, mean

SPACES = Spaces(dim=8, widths={})
PAIR = ("image", "text")


def rows_with_both(emb: Embeddings) -> tuple[Tensor, Tensor]:
    kept = torch.tensor(Cells(emb).both(*PAIR))
    return emb.columns["image"].z.detach().double()[kept], emb.columns["text"].z.detach().double()[kept]


@pytest.mark.parametrize("absent", [0.0, 0.4])
@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_alignment_and_uniformity_are_their_formulas(absent: float, alpha: float) -> None:
    emb = made_up(*PAIR, seed=1, absent=absent)
    cells = Cells(emb)

    def square(a: str, i: int, b: str, j: int) -> float:
        return float((cells.vector(a, i) - cells.vector(b, j)).square().sum())

    def spread(a: str, b: str) -> float:
        pairs = [(i, j) for i in cells.rows for j in cells.rows if i != j and cells.here(a, i) and cells.here(b, j)]
        return math.log(mean(math.exp(-3 * square(a, i, b, j)) for i, j in pairs))

    align = mean(square("image", i, "text", i) ** (alpha / 2) for i in cells.both(*PAIR))
    uniform = (spread("image", "image") + spread("text", "text")) / 2
    config = AlignmentUniformity.Config(align=0.7, uniform=0.5, across=0.3, alpha=alpha, t=3.0)
    expected = 0.7 * align + 0.5 * uniform + 0.3 * spread("image", "text")
    assert float(AlignmentUniformity(config)(emb).loss.detach()) == pytest.approx(expected, rel=2e-5)


def test_cyclip_compares_similarities_with_their_mirror() -> None:
    emb = made_up(*PAIR, seed=2, absent=0.3)
    cells = Cells(emb)
    rows = cells.both(*PAIR)
    in_modal = cross_modal = 0.0
    for i in rows:
        for j in rows:
            in_modal += (cells.sim("image", i, "image", j) - cells.sim("text", i, "text", j)) ** 2 / len(rows)
            cross_modal += (cells.sim("image", i, "text", j) - cells.sim("image", j, "text", i)) ** 2 / len(rows)
    found = float(CyCLIP(CyCLIP.Config(in_modal=0.25, cross_modal=0.5))(emb).loss.detach())
    assert found == pytest.approx(0.25 * in_modal + 0.5 * cross_modal, rel=2e-5)


def test_barlow_twins_is_its_formula() -> None:
    emb = made_up(*PAIR, seed=3, absent=0.2)
    a, b = rows_with_both(emb)

    def standard(z: Tensor, k: int) -> list[float]:
        values = [float(each) for each in z[:, k]]
        variance = mean((value - mean(values)) ** 2 for value in values)
        return [(value - mean(values)) / math.sqrt(variance + 1e-5) for value in values]

    expected = 0.0
    for k in range(8):
        for other in range(8):
            products = zip(standard(a, k), standard(b, other), strict=True)
            cross = mean(x * y for x, y in products)
            expected += (1 - cross) ** 2 if k == other else 0.02 * cross**2
    assert float(BarlowTwins(BarlowTwins.Config(pair=PAIR, redundancy=0.02))(emb).loss.detach()) == pytest.approx(
        expected, rel=2e-5
    )


def test_vicreg_is_its_three_terms() -> None:
    emb = made_up(*PAIR, seed=4, absent=0.2)
    a, b = (2.0 * z for z in rows_with_both(emb))
    count = len(a)
    expected = 25 * mean(float((a[i, k] - b[i, k]) ** 2) for i in range(count) for k in range(8))
    for z in (a, b):
        covariance = [
            [float(((z[:, k] - z[:, k].mean()) * (z[:, m] - z[:, m].mean())).sum()) / (count - 1) for m in range(8)]
            for k in range(8)
        ]
        expected += 25 / 2 * mean(max(0.0, 1 - math.sqrt(covariance[k][k] + 1e-4)) for k in range(8))
        expected += sum(covariance[k][m] ** 2 for k in range(8) for m in range(8) if k != m) / 8
    found = float(VICReg(VICReg.Config(pair=PAIR, scale=2.0))(emb).loss.detach())
    assert found == pytest.approx(expected, rel=2e-5)


def test_von_neumann_entropy_is_minus_the_log_of_the_effective_rank() -> None:
    same = Embedded(torch.tensor([[1.0, 0, 0]]).repeat(4, 1), torch.ones(4, dtype=torch.bool))
    different = Embedded(torch.eye(3), torch.ones(3, dtype=torch.bool))
    one = VonNeumannEntropy(VonNeumannEntropy.Config(columns=("image",)))
    assert float(one(Embeddings({"image": same}, {}, ["a"] * 4)).loss) == pytest.approx(0.0, abs=1e-5)
    assert float(one(Embeddings({"image": different}, {}, ["a"] * 3)).loss) == pytest.approx(-math.log(3), abs=1e-5)
    emb = made_up("image", seed=5, rows=9)
    singular = torch.linalg.svdvals(emb["image"].z.detach().double())
    weights = [float(each) ** 2 / 9 for each in singular]
    expected = sum(each * math.log(each) for each in weights if each > 1e-12)
    assert float(one(emb).loss.detach()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("absent", [0.0, 0.3])
def test_whitening_contrasts_decorrelated_groups(absent: float) -> None:
    emb = made_up(*PAIR, seed=6, absent=absent)
    cells = Cells(emb)
    objective = Whitening(Whitening.Config(groups=2, draws=2, epsilon=1e-2, temperature=0.2))
    generator = objective.random.generator()
    expected = []
    for _ in range(2):
        white = {}
        for name in PAIR:
            z, present = emb.columns[name].z.detach().double(), emb.columns[name].present
            order = torch.randperm(8, generator=generator)
            result = torch.zeros_like(z)
            for part in order.view(2, 4):
                centred = z[:, part] - z[present][:, part].mean(dim=0)
                covariance = centred[present].T @ centred[present] / int(present.sum()) + 1e-2 * torch.eye(4)
                values, vectors = torch.linalg.eigh(covariance)
                result[:, part] = centred @ (vectors @ torch.diag(values**-0.5) @ vectors.T)
            white[name] = normalize(result, dim=1)
        for a, b in (PAIR, PAIR[::-1]):
            for i in cells.both(*PAIR):
                logits = {j: 5 * float(white[a][i] @ white[b][j]) for j in cells.rows if cells.here(b, j)}
                expected.append(log_sum(logits.values()) - logits[i])
    assert float(objective(emb).loss.detach()) == pytest.approx(mean(expected), rel=1e-4)


def test_the_inverse_root_has_the_right_gradient_at_equal_eigenvalues_too() -> None:
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(2, 4, 4, generator=generator, dtype=torch.float64)
    matrix = (half @ half.transpose(1, 2) + torch.eye(4)).requires_grad_()

    def symmetric(x: Tensor) -> Tensor:
        return InverseRoot.apply((x + x.transpose(1, 2)) / 2)

    assert torch.autograd.gradcheck(symmetric, matrix, atol=1e-6)
    equal = torch.eye(3, dtype=torch.float64)[None].requires_grad_()
    (gradient,) = torch.autograd.grad(InverseRoot.apply(equal)[0, 0, 0], equal)
    assert float(gradient[0, 0, 0]) == pytest.approx(-0.5) and torch.isfinite(gradient).all()


def test_groups_that_do_not_divide_the_embedding_are_refused() -> None:
    with pytest.raises(ConfigError, match="do not divide"):
        Whitening(Whitening.Config(groups=3)).attach(SPACES)


def test_catlip_is_binary_cross_entropy_over_the_vocabulary() -> None:
    nouns = torch.tensor([[0, 3], [2, -1], [-1, -1], [1, 1], [4, 0], [9, 2], [-1, 3], [2, 4], [0, -1]])
    emb = made_up("image", seed=7, absent=0.3, nouns=nouns)
    torch.manual_seed(0)
    objective = CatLIP(CatLIP.Config(classes=5))
    objective.attach(SPACES)
    weight, bias = objective.classifier.weight.double(), objective.classifier.bias.double()
    expected = []
    for i in range(9):
        wanted = {int(each) for each in nouns[i] if 0 <= each < 5}
        if not emb["image"].present[i] or not wanted:
            continue
        row = []
        for c in range(5):
            logit = float(weight[c] @ emb["image"].z[i].double() + bias[c])
            p = 1 / (1 + math.exp(-logit))
            row.append(-math.log(p) if c in wanted else -math.log(1 - p))
        expected.append(mean(row))
    assert float(objective(emb).loss.detach()) == pytest.approx(mean(expected), rel=2e-5)


def test_matryoshka_sums_the_objective_over_leading_dimensions() -> None:
    emb = made_up(*PAIR, seed=8, absent=0.2)
    config = Matryoshka.Config(objective=InfoNCE.Config(weight=0.5), widths=(2, 8), weights=(1.0, 3.0))
    objective = Matryoshka(config)
    objective.attach(SPACES)
    expected = 0.0
    for width, factor in ((2, 1.0), (8, 3.0)):
        columns = {
            name: Embedded(normalize(column.z[:, :width], dim=1), column.present)
            for name, column in emb.columns.items()
        }
        expected += factor * 0.5 * float(InfoNCE(InfoNCE.Config())(Embeddings(columns, {}, emb.row_keys)).loss)
    assert float(objective(emb).loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_widths_beyond_the_embedding_are_refused() -> None:
    with pytest.raises(ConfigError, match="beyond model.dim"):
        Matryoshka(Matryoshka.Config(objective=InfoNCE.Config(), widths=(4, 16))).attach(SPACES)
