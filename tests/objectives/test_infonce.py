"""InfoNCE against its formula in plain loops, and against open_clip's loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast.objectives.infonce import InfoNCE
from mmcontrast.types import Embedded, Embeddings


def embeddings(rows: int, *, seed: int, absent: float = 0.0, group: Tensor | None = None) -> Embeddings:
    generator = torch.Generator().manual_seed(seed)
    columns = {}
    for name in ("image", "text", "audio"):
        z = normalize(torch.randn(rows, 8, generator=generator), dim=-1)
        present = torch.rand(rows, generator=generator) >= absent
        columns[name] = Embedded((z * present[:, None]).requires_grad_(), present)
    labels = {} if group is None else {"group": group}
    return Embeddings(columns, labels, [str(row) for row in range(rows)])


def by_loops(emb: Embeddings, a: str, b: str, scale: float, smoothing: float = 0.0) -> float:
    """The formula, one row and one key at a time, in double precision."""
    group = emb.labels.get("group")
    total, count = 0.0, 0
    for i in range(len(emb.row_keys)):
        if not (emb[a].present[i] and emb[b].present[i]):
            continue
        count += 1
        for query, key in ((a, b), (b, a)):
            logits = {}
            for j in range(len(emb.row_keys)):
                alike = group is not None and group[i] >= 0 and group[i] == group[j] and i != j
                if emb[key].present[j] and not alike:
                    logits[j] = scale * float(emb[query].z[i].double() @ emb[key].z[j].double())
            normalizer = math.log(sum(math.exp(value) for value in logits.values()))
            hard = normalizer - logits[i]
            even = sum(normalizer - value for value in logits.values()) / len(logits)
            total += ((1 - smoothing) * hard + smoothing * even) / 2
    return total / max(count, 1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("absent", [0.0, 0.4])
@pytest.mark.parametrize("grouped", [False, True])
def test_loss_is_the_formula(absent: float, grouped: bool, smoothing: float) -> None:
    group = torch.tensor([0, 1, 0, 2, -1, -1, 2, 3, 1]) if grouped else None
    emb = embeddings(9, seed=0, absent=absent, group=group)
    pairs = (("image", "text"), ("audio", "text"), ("image", "audio"))
    objective = InfoNCE(
        InfoNCE.Config(
            pairs=pairs,
            weights=(1.0, 0.5, 2.0),
            temperature=0.2,
            label_smoothing=smoothing,
            group="group" if grouped else None,
        )
    )
    expected = sum(
        weight * by_loops(emb, a, b, 5.0, smoothing) for (a, b), weight in zip(pairs, (1.0, 0.5, 2.0), strict=True)
    )
    assert float(objective(emb).loss.detach()) == pytest.approx(expected, abs=1e-5)  # float32 against float64


def test_one_pair_is_open_clips_loss() -> None:
    open_clip = pytest.importorskip("open_clip")
    emb = embeddings(16, seed=1)
    objective = InfoNCE(InfoNCE.Config(pairs=(("image", "text"),)))
    ours = objective(emb)
    theirs = open_clip.ClipLoss()(emb["image"].z, emb["text"].z, torch.tensor(1 / 0.07))
    assert float(ours.loss) == pytest.approx(float(theirs), abs=1e-6)
    ours_grad = torch.autograd.grad(ours.loss, emb["image"].z, retain_graph=True)[0]
    theirs_grad = torch.autograd.grad(theirs, emb["image"].z)[0]
    torch.testing.assert_close(ours_grad, theirs_grad, atol=1e-6, rtol=1e-5)


def test_each_pair_has_a_scale_of_shape_one_that_stays_within_its_bounds() -> None:
    objective = InfoNCE(InfoNCE.Config(pairs=(("image", "text"), ("audio", "text"))))
    assert [tuple(p.shape) for p in objective.parameters()] == [(1,), (1,)]
    scale = objective.scales["image-text"]
    with torch.no_grad():
        scale.log.fill_(6.0)
    value = scale()
    assert float(value) == pytest.approx(100.0, rel=1e-5)
    (grad,) = torch.autograd.grad(value.sum(), scale.log)
    assert float(grad) > 0  # descent lowers it: the way back is open
    (grad,) = torch.autograd.grad(-scale().sum(), scale.log)
    assert float(grad) == 0  # descent would push it further out


@pytest.mark.parametrize("present", [[], [0]])
def test_a_batch_with_one_row_or_none_is_finite(present: list[int]) -> None:
    emb = embeddings(3, seed=2)
    mask = torch.zeros(3, dtype=torch.bool)
    mask[present] = True
    columns = {name: Embedded(column.z, mask) for name, column in emb.columns.items()}
    loss = InfoNCE(InfoNCE.Config())(Embeddings(columns, {}, emb.row_keys)).loss
    loss.backward()
    assert float(loss) == 0.0
    assert torch.isfinite(emb.columns["image"].z.grad).all()


def test_pairs_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="distinct pairs"):
        InfoNCE.Config(pairs=(("image", "image"),))
    with pytest.raises(ValueError, match="weights has 2"):
        InfoNCE.Config(weights=(1.0, 2.0))
