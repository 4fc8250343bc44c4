"""Classification, multi-label, retrieval, ranking and correlation against the peers' own functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmcontrast.errors import MetricError
from mmcontrast.evaluate.metrics.classification import expected_top_k, label_ranks, tie_rate, top_k
from mmcontrast.evaluate.metrics.correlation import pearson, spearman
from mmcontrast.evaluate.metrics.graded import graded_ndcg
from mmcontrast.evaluate.metrics.multilabel import average_precisions
from mmcontrast.evaluate.metrics.retrieval import (
    average_precision_compat,
    recall_any_compat,
    retrieve_scores,
    without_duplicates,
)


def random(*shape: int, levels: int | None = None, seed: int = 0) -> Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return values if levels is None else (values * levels / 3).round()


def captions_of(pictures: int, each: int) -> tuple[Tensor, Tensor]:
    """Ids of pictures and of their captions."""
    return torch.arange(pictures), torch.arange(pictures).repeat_interleave(each)


# ------------------------------------------------------------ classification


@pytest.fixture()
def clip_benchmark_top_k(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The peer's accuracy; it calls float() on an array of one element, which recent NumPy refuses."""
    peer = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
    monkeypatch.setattr(peer, "float", lambda value: np.asarray(value).item(), raising=False)
    return peer.accuracy


@pytest.mark.parametrize("k", [1, 3])
def test_top_k_equals_torchmetrics_and_clip_benchmark(k: int, clip_benchmark_top_k: Any) -> None:
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    scores, true = random(200, 7), torch.randint(0, 7, (200,), generator=torch.Generator().manual_seed(1))
    ours = float(top_k(scores, true, k=k).double().mean())
    theirs = torchmetrics.multiclass_accuracy(scores, true, num_classes=7, top_k=k, average="micro")
    assert ours == pytest.approx(float(theirs), abs=1e-6)
    assert ours == pytest.approx(clip_benchmark_top_k(scores, true, (k,))[0])


def test_tied_top_k_is_wrong_unless_a_peer_is_asked_for(clip_benchmark_top_k: Any) -> None:
    scores, true = random(200, 7, levels=2), torch.randint(0, 7, (200,), generator=torch.Generator().manual_seed(1))
    theirs = clip_benchmark_top_k(scores, true, (2,))[0]
    assert float(top_k(scores, true, k=2, compat="clip_benchmark").double().mean()) == pytest.approx(theirs)
    strict, expected = top_k(scores, true, k=2), expected_top_k(scores, true, k=2)
    assert float(strict.mean()) < float(expected.mean()) and (strict <= expected).all()
    assert 0 < tie_rate(scores, true) < 1
    ranks = [
        1 + sum(other >= row[int(own)] for place, other in enumerate(row) if place != int(own))
        for row, own in zip(scores.tolist(), true, strict=True)
    ]
    assert label_ranks(scores, true).tolist() == ranks


@pytest.mark.parametrize("levels", [None, 2])
def test_average_precision_equals_sklearn_ties_included(levels: int | None) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, labels = random(80, 5, levels=levels), random(80, 5, seed=1) > 0.8
    found = average_precisions(scores, labels)
    for number in range(5):
        expected = metrics.average_precision_score(labels[:, number], scores[:, number])
        assert float(found.values[number]) == pytest.approx(expected, abs=1e-12)
    assert (found.tie_rate > 0) == (levels is not None)


def test_average_precision_equals_torchmetrics() -> None:
    peer = pytest.importorskip("torchmetrics.functional.classification")
    scores, labels = random(80, 5), random(80, 5, seed=1) > 0.8
    theirs = peer.multilabel_average_precision(scores.sigmoid(), labels.long(), num_labels=5, average="macro")
    assert average_precisions(scores, labels).macro == pytest.approx(float(theirs), abs=1e-6)


def test_only_a_classes_hard_rows_are_ranked_as_cola_does() -> None:
    peer = pytest.importorskip("torchmetrics.functional")
    scores, labels, hard = random(80, 5), random(80, 5, seed=1) > 0.8, random(80, 5, seed=2) > 0.5
    labels[:, 3], hard[:, 4] = False, False  # published: a class without a picture, or without a hard one, is left out
    theirs = [
        peer.average_precision(scores[ranked, number].sigmoid(), labels[ranked, number].long(), task="binary")
        for number, ranked in enumerate(hard.unbind(1))
        if labels[:, number].any() and ranked.any()
    ]
    found = average_precisions(scores, labels, among=hard)
    assert len(theirs) == 3 and found.empty == 2
    assert found.macro == pytest.approx(float(torch.stack(theirs).mean()), abs=1e-6)
    with pytest.raises(MetricError, match="must agree"):
        average_precisions(scores, labels, among=hard[:, :2])


def test_a_class_without_rows_is_left_out_and_counted() -> None:
    peer = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
    scores, labels = random(60, 4), random(60, 4, seed=1) > 0.8
    labels[:, 2] = False
    found = average_precisions(scores, labels)
    assert found.empty == 1 and math.isnan(float(found.values[2]))
    assert found.macro == pytest.approx(float(found.values[[0, 1, 3]].mean()))
    theirs = peer.average_precision_per_class(scores, labels)
    quirk = average_precisions(scores, labels, compat="clip_benchmark")
    assert quirk.values.tolist() == pytest.approx(theirs.tolist(), abs=1e-6) and quirk.macro < found.macro


# ---------------------------------------------------------------- retrieval


@pytest.mark.parametrize("each", [1, 5])
def test_any_hit_recall_equals_clip_benchmark_both_ways(each: int) -> None:
    peer = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")
    pictures, texts = captions_of(40, each)
    scores = random(len(texts), 40)
    positive = texts[:, None] == pictures[None]
    for table, right, queries, targets in (
        (scores, positive, texts, pictures),
        (scores.T, positive.T, pictures, texts),
    ):
        found = retrieve_scores(table, queries, targets)
        for k in (1, 5, 10):
            theirs = peer.recall_at_k(table, right, k)
            assert float(found.recall_any(k).mean()) == pytest.approx(float((theirs > 0).float().mean()))
            assert recall_any_compat(table, queries, targets, k=k, compat="clip_benchmark") == pytest.approx(
                float((theirs > 0).double().mean())
            )
        assert float(found.recall_true().mean()) == pytest.approx(float(peer.recall_at_k(table, right, 10).mean()))


def test_ranks_equal_open_clip_training_metrics() -> None:
    peer = pytest.importorskip("open_clip_train.train")
    images, texts = random(50, 16), random(50, 16, seed=1)
    theirs = peer.get_clip_metrics(images, texts, torch.tensor(1.0))
    ids = torch.arange(50)
    for name, table in (("image_to_text", images @ texts.T), ("text_to_image", texts @ images.T)):
        found = retrieve_scores(table, ids, ids)
        first = found.ranks.first.double()
        assert float(first.mean()) == pytest.approx(theirs[f"{name}_mean_rank"])
        assert math.floor(float(torch.quantile(first - 1, 0.5))) + 1 == theirs[f"{name}_median_rank"]
        for k in (1, 5, 10):
            assert float(found.recall_any(k).mean()) == pytest.approx(theirs[f"{name}_R@{k}"])
            assert recall_any_compat(table, ids, ids, k=k, compat="open_clip") == pytest.approx(
                theirs[f"{name}_R@{k}"]
            )


def trec(scores: Tensor, relevance: Tensor, measures: set[str]) -> list[dict[str, float]]:
    """trec_eval's numbers, which mteb and BEIR report."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    judged = {
        f"q{row}": {f"d{place:04d}": int(grade) for place, grade in enumerate(line) if grade > 0}
        for row, line in enumerate(relevance.tolist())
    }
    run = {
        f"q{row}": {f"d{place:04d}": score for place, score in enumerate(line)}
        for row, line in enumerate(scores.tolist())
    }
    found = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run)
    return [found[f"q{row}"] for row in range(len(scores))]


def test_retrieval_equals_trec_eval() -> None:
    pictures, texts = captions_of(30, 3)
    scores = random(30, 90)
    relevance = (pictures[:, None] == texts[None]).float()
    theirs = trec(scores, relevance, {"map_cut.10", "ndcg_cut.10", "recip_rank", "recall.10"})
    found = retrieve_scores(scores, pictures, texts)
    ours = found.summary()
    for name, key in (("mAP@10", "map_cut_10"), ("nDCG@10", "ndcg_cut_10"), ("MRR", "recip_rank"),
                      ("true_recall@10", "recall_10")):  # fmt: skip
        assert ours[name] == pytest.approx(np.mean([each[key] for each in theirs]), abs=1e-6)


def test_graded_gain_equals_trec_eval_and_sklearn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, relevance = random(12, 40), torch.randint(0, 100, (12, 40), generator=torch.Generator().manual_seed(1))
    relevance = relevance.float() * (random(12, 40, seed=2) > 0.3)
    theirs = trec(scores, relevance, {"ndcg_cut.10"})
    ours = graded_ndcg(scores, relevance, k=10)
    assert ours.tolist() == pytest.approx([each["ndcg_cut_10"] for each in theirs], abs=1e-6)
    powers = graded_ndcg(scores, relevance / 20, k=10, gain="exponential")
    expected = [metrics.ndcg_score([(2 ** (line / 20) - 1).numpy()], [row.numpy()], k=10)
                for line, row in zip(relevance, scores, strict=True)]  # fmt: skip
    assert powers.tolist() == pytest.approx(expected, abs=1e-5)


def test_a_constant_ranking_gets_the_worst_gain_of_its_ties() -> None:
    relevance = torch.tensor([[0.0, 3.0, 1.0]])
    worst = (1 / math.log2(3) + 3 / 2) / (3 + 1 / math.log2(3))
    assert float(graded_ndcg(torch.zeros(1, 3), relevance, k=3)) == pytest.approx(worst)
    with pytest.raises(MetricError, match="every query needs a target above 0"):
        graded_ndcg(torch.zeros(1, 3), torch.zeros(1, 3), k=3)


def test_mei_sorts_and_laion_does_not() -> None:
    clips, texts = captions_of(1, 5)
    # Ranks 5, 4, 3, 2, 1 in file order: sorted precisions are all 1.
    scores = torch.tensor([[1.0, 2, 3, 4, 5, 0]])
    texts = torch.cat([texts, torch.tensor([9])])
    mei = float(average_precision_compat(scores, clips, texts, compat="mei"))
    laion = float(average_precision_compat(scores, clips, texts, compat="laion"))
    assert mei == pytest.approx(1) == float(retrieve_scores(scores, clips, texts).best.average_precision())
    assert laion == pytest.approx((1 / 5 + 2 / 4 + 3 / 3 + 4 / 2 + 5 / 1) / 5) and laion > 1


def test_mei_is_the_textbook_number_with_up_to_ten_right_answers() -> None:
    clips, texts = captions_of(30, 5)
    scores = random(30, 150)
    ours = retrieve_scores(scores, clips, texts).best.average_precision()
    assert torch.allclose(average_precision_compat(scores, clips, texts, compat="mei"), ours, atol=1e-6)  # float32


def test_equal_captions_are_right_for_each_other() -> None:
    ids = without_duplicates(["A dog barks", "rain", "a dog  barks", "wind", "rain"], torch.tensor([0, 0, 1, 2, 3]))
    assert ids[0] == ids[2] == ids[4] == ids[1] and ids[3] not in ids[[0, 1, 2, 4]]
    scores = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    strict = retrieve_scores(scores, torch.arange(2), torch.arange(2)).recall_any(1)
    joined = without_duplicates(["a dog", "a dog"], torch.arange(2))
    assert strict.sum() == 0 and retrieve_scores(scores, joined, joined).recall_any(1).sum() == 2


# -------------------------------------------------------------- correlation


@pytest.mark.parametrize("levels", [None, 2])
def test_correlations_equal_scipy(levels: int | None) -> None:
    stats = pytest.importorskip("scipy.stats")
    a, b = random(60, levels=levels), random(60, seed=1, levels=levels)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert pearson(a, b) == pytest.approx(stats.pearsonr(a.double(), b.double()).statistic, abs=1e-12)


def test_a_constant_side_has_no_correlation() -> None:
    assert spearman(torch.ones(5), torch.arange(5).float()) == 0
    with pytest.raises(MetricError, match="NaN"):
        spearman(torch.tensor([1.0, torch.nan]), torch.ones(2))
