"""Distillation from a frozen teacher against the formulas in plain loops, and through a whole run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from mmcontrast.config import parse
from mmcontrast.errors import NeedsError
from mmcontrast.objectives.affinity_distillation import AffinityDistillation
from mmcontrast.objectives.base import Spaces
from mmcontrast.objectives.concept_distillation import ConceptDistillation
from mmcontrast.objectives.continual_distillation import ContinualDistillation
from mmcontrast.objectives.contrastive_distillation import ContrastiveDistillation
from mmcontrast.objectives.feature_distillation import FeatureDistillation
from mmcontrast.objectives.rank_distillation import RankDistillation
from mmcontrast.run import Run, check
from mmcontrast.teacher import load_teacher
from mmcontrast.train import train
from tests.fixtures import make_set
from tests.objectives.made_up import GROUP, Cells, both_ways, log_sum, made_up, mean
from tests.objectives.test_momentum import PAIR, attached, averaged, seen_by_copy


def test_features_move_to_the_teachers_through_a_matrix_where_widths_differ() -> None:
    emb = averaged(made_up(*PAIR, seed=1, absent=0.3), seed=2)
    objective = FeatureDistillation(FeatureDistillation.Config())
    torch.manual_seed(0)
    objective.attach(Spaces(dim=8, widths={}, teacher_dim=5))
    cells, taught = Cells(emb), seen_by_copy(emb)
    emb.taught.update({name: type(each)(each.z[:, :5], each.present) for name, each in emb.taught.items()})
    losses = []
    for name, to_teacher in zip(PAIR, objective.maps, strict=True):
        weight = to_teacher.weight.detach().double()
        rows = [i for i in cells.rows if cells.here(name, i)]
        squares = [(weight @ cells.vector(name, i) - taught.vector(name, i)[:5]).square().sum() for i in rows]
        losses.append(mean(float(each) for each in squares))
    assert float(objective(emb).loss.detach()) == pytest.approx(mean(losses), rel=2e-5)


def test_affinity_is_the_divergence_of_two_softmaxes() -> None:
    emb = averaged(made_up(*PAIR, seed=3, absent=0.3), seed=4)
    cells, taught = Cells(emb), seen_by_copy(emb)
    expected = []
    for i in cells.both(*PAIR):
        for a, b in both_ways(PAIR):
            keys = [j for j in cells.rows if cells.here(b, j)]
            student = [5 * cells.sim(a, i, b, j) for j in keys]
            teacher = [10 * taught.sim(a, i, b, j) for j in keys]
            total = 0.0
            for mine, theirs in zip(student, teacher, strict=True):
                log_q = theirs - log_sum(teacher)
                total += math.exp(log_q) * (log_q - (mine - log_sum(student)))
            expected.append(total)
    config = AffinityDistillation.Config(temperature=0.2, teacher_temperature=0.1)
    assert float(AffinityDistillation(config)(emb).loss.detach()) == pytest.approx(mean(expected), rel=2e-5)


@pytest.mark.parametrize("keys", ["same", "other"])
def test_contrastive_distillation_finds_the_teachers_row(keys: str) -> None:
    emb = averaged(made_up(*PAIR, seed=5, absent=0.3), seed=6)
    cells, taught = Cells(emb), seen_by_copy(emb)
    losses = []
    for a, b in both_ways(PAIR):
        target = a if keys == "same" else b
        row = []
        for i in cells.both(a, target):
            seen = [j for j in cells.rows if cells.here(target, j)]
            logits = {j: 5 * float(cells.vector(a, i) @ taught.vector(target, j)) for j in seen}
            row.append(log_sum(logits.values()) - logits[i])
        losses.append(mean(row))
    objective = attached(ContrastiveDistillation(ContrastiveDistillation.Config(keys=keys, temperature=0.2)))
    assert float(objective(emb).loss.detach()) == pytest.approx(mean(losses), rel=2e-5)


@pytest.mark.parametrize("kind", ["listnet", "listmle"])
def test_rank_distillation_orders_as_the_teacher_does(kind: str) -> None:
    emb = averaged(made_up(*PAIR, seed=7, absent=0.2), seed=8)
    cells, taught = Cells(emb), seen_by_copy(emb)
    expected = []
    for i in cells.both(*PAIR):
        for a, b in both_ways(PAIR):
            keys = cells.negatives(b, i)
            student = {j: 2 * cells.sim(a, i, b, j) for j in keys}
            teacher = {j: taught.sim(a, i, b, j) for j in keys}
            if kind == "listnet":
                total = sum(math.exp(each / 0.4) for each in teacher.values())
                expected.append(
                    -sum(math.exp(teacher[j] / 0.4) / total * (student[j] - log_sum(student.values())) for j in keys)
                )
            else:
                order = sorted(keys, key=lambda j: -teacher[j])
                losses = [log_sum(student[j] for j in order[m:]) - student[order[m]] for m in range(len(order))]
                expected.append(sum(losses) / len(order))
    config = RankDistillation.Config(kind=kind, temperature=0.5, teacher_temperature=0.4)
    assert float(RankDistillation(config)(emb).loss.detach()) == pytest.approx(mean(expected), rel=2e-5)


def test_continual_distillation_pulls_to_the_old_models_rows_of_the_class() -> None:
    emb = averaged(made_up("image", seed=9, absent=0.2, group=GROUP), seed=10)
    cells, taught = Cells(emb, "group"), seen_by_copy(emb)
    expected = []
    for i in cells.both("image"):
        logits = {j: 10 * float(cells.vector("image", i) @ taught.vector("image", j)) for j in cells.both("image")}
        positives = [j for j in logits if j == i or cells.alike(i, j)]
        expected.append(mean(log_sum(logits.values()) - logits[j] for j in positives))
    objective = attached(ContinualDistillation(ContinualDistillation.Config()))
    assert float(objective(emb).loss.detach()) == pytest.approx(mean(expected), rel=2e-5)


def test_concepts_of_the_teachers_classifier_become_the_students() -> None:
    concepts = torch.tensor([[2, 0], [-1, -1], [1, 1], [6, -1], [9, 3], [0, 0], [4, 5], [-1, 2], [3, -1]])  # 7 classes
    emb = averaged(made_up("image", seed=13, absent=0.3, nouns=concepts), seed=14)
    torch.manual_seed(0)
    objective = ConceptDistillation(ConceptDistillation.Config(classes={"nouns": 7}))
    objective.attach(Spaces(dim=8, widths={}, teacher_dim=8))
    cells, taught = Cells(emb), seen_by_copy(emb)

    def log_softmax(layer: torch.nn.Module, vector: torch.Tensor) -> list[float]:
        state = {name: value.detach().double() for name, value in layer.state_dict().items()}
        logits = [float(state["weight"][c] @ vector + state["bias"][c]) for c in range(7)]
        return [each - log_sum(logits) for each in logits]

    student, teacher = [], []
    for i in cells.both("image"):
        mine = log_softmax(objective.learner[0], cells.vector("image", i))
        theirs = log_softmax(objective.teacher[0], taught.vector("image", i))
        student.append(-sum(math.exp(q) * p for p, q in zip(mine, theirs, strict=True)))
        named = {c for c in concepts[i].tolist() if 0 <= c < 7}
        if named:
            teacher.append(-mean(theirs[c] for c in named))
    loss = objective(emb).loss
    assert float(loss.detach()) == pytest.approx(mean(student) + mean(teacher), rel=2e-5)
    loss.backward()
    before = {name: each.grad.clone() for name, each in objective.named_parameters() if each.grad is not None}
    with torch.no_grad():
        objective.learner[0].weight.mul_(3.0)  # the teacher's classifier learns from captions alone
    objective.zero_grad()
    objective(emb).loss.backward()
    for name, each in objective.named_parameters():
        assert each.grad is not None and torch.equal(each.grad, before[name]) == name.startswith("teacher.")


def test_mapped_students_stay_unit_vectors() -> None:
    emb = averaged(made_up(*PAIR, seed=11), seed=12)
    objective = ContrastiveDistillation(ContrastiveDistillation.Config(keys="same", temperature=0.2))
    objective.attach(Spaces(dim=8, widths={}, teacher_dim=5))
    emb.taught.update({k: type(v)(normalize(v.z[:, :5], dim=1), v.present) for k, v in emb.taught.items()})
    loss = objective(emb).loss
    with torch.no_grad():
        for each in objective.maps:
            each.weight.mul_(7.0)  # length is no way to lower the loss
    torch.testing.assert_close(objective(emb).loss, loss)


def run_tree(folder: Path, data: str, **fields: object) -> dict[str, object]:
    return {
        "out": str(folder),
        "steps": 2,
        "model": {
            "dim": 8,
            "towers": {
                "image": {"type": "small_resnet", "size": 16, "widths": [8, 8], "blocks": [1, 1], "groups": 4},
                "text": {"type": "text_transformer", "width": 16, "layers": 1, "heads": 2, "buckets": 64},
            },
        },
        "data": {"batch_rows": 8, "workers": 0, "sources": {"made": {"manifest": data}}},
        "objectives": {"contrast": {"type": "infonce"}},
        "log": {"tensorboard": False},
        **fields,
    }


def test_a_finished_run_teaches_another(tmp_path: Path) -> None:
    data = make_set(tmp_path / "made", columns=("image", "text"))
    train(parse(Run, run_tree(tmp_path / "teacher", data)))
    objectives = {"copy": {"type": "feature_distillation"}}
    student = parse(
        Run, run_tree(tmp_path / "student", data, objectives=objectives, teacher=str(tmp_path / "teacher"))
    )
    check(student)
    result = train(student)
    teacher = load_teacher(student)
    assert teacher is not None and not any(parameter.requires_grad for parameter in teacher.parameters())
    from safetensors.torch import load_file

    assert not any("teacher" in name for name in load_file(result.checkpoint / "model.safetensors"))


def test_a_missing_or_unfit_teacher_is_named(tmp_path: Path) -> None:
    data = make_set(tmp_path / "made", columns=("image", "text"))
    objectives = {"copy": {"type": "feature_distillation"}}
    with pytest.raises(NeedsError, match="teacher is null"):
        check(parse(Run, run_tree(tmp_path / "student", data, objectives=objectives)))
    tree = run_tree(tmp_path / "teacher", data)
    tree["model"]["towers"]["image"]["size"] = 32  # type: ignore[index]
    train(parse(Run, tree))
    with pytest.raises(NeedsError, match="Give both the same inputs"):
        check(parse(Run, run_tree(tmp_path / "s", data, objectives=objectives, teacher=str(tmp_path / "teacher"))))


def test_without_a_teacher_nothing_is_attached() -> None:
    with pytest.raises(NeedsError, match="needs a teacher"):
        FeatureDistillation(FeatureDistillation.Config()).attach(Spaces(dim=8, widths={}))
