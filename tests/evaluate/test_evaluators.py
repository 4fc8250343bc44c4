"""Evaluators over made-up shards: what they find, what blindness earns, and what they say of bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from data_pipelines.pack import Sample
from mmcontrast.config import parse
from mmcontrast.errors import ConfigError, MissingData
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Report
from mmcontrast.evaluate.bench import Bench
from tests.evaluate.fakes import FakeEncoder, make_sequences, make_things, picture, point, tones, write


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_things(tmp_path_factory.mktemp("sets") / "things")


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_sequences(tmp_path_factory.mktemp("sets") / "sequences")


def evaluate(kind: str, bench: Bench, **fields: Any) -> Report:
    cls = EVALUATORS.get(kind)
    return cls(parse(cls.Config, fields)).run(bench)


def value(report: Report, name: str) -> float:
    return report.metrics[name].value


TASKS: dict[str, dict[str, Any]] = {
    "zero_shot": {"modality": "image", "top": [1, 5]},
    "retrieval": {"query": "image", "target": "text", "recall": [1, 5]},
}


@pytest.mark.parametrize("kind", TASKS)
def test_a_seeing_encoder_is_right_and_its_controls_are_at_chance(kind: str, things: str) -> None:
    bench = Bench(FakeEncoder(noise=0.2), FakeEncoder(noise=1.0, kind="random"))
    report = evaluate(kind, bench, source=things, **TASKS[kind])
    best = report.metrics[report.primary]
    assert best.value == 1 and best.chance == pytest.approx(1 / 20) and best.low is not None and best.low < 1
    for name in ("shuffled", "constant", "untrained"):
        assert best.controls[name] <= 0.2  # 40 rows at 1/20: more than 8 hits has a chance below 1 in 10,000


@pytest.mark.parametrize("kind", TASKS)
def test_a_constant_encoder_earns_nothing(kind: str, things: str) -> None:
    report = evaluate(kind, Bench(FakeEncoder(kind="constant")), source=things, **TASKS[kind])
    assert all(metric.value == 0 for name, metric in report.metrics.items() if name in ("top1", "top5", "R@1", "R@5"))
    assert report.facts["tie_rate"] == 1


@pytest.mark.parametrize("kind", TASKS)
def test_results_do_not_depend_on_the_encoders_batch(kind: str, things: str) -> None:
    reports = [
        evaluate(kind, Bench(FakeEncoder(noise=1.2, batch_rows=rows)), source=things, **TASKS[kind])
        for rows in (1, 7, 1000)
    ]
    assert reports[0] == reports[1] == reports[2]


def test_shuffled_captions_sit_at_chance_on_many_rows(tmp_path: Path) -> None:
    source = make_things(tmp_path / "many", things=30, styles=[f"style {number}" for number in range(20)])
    metric = evaluate("zero_shot", Bench(FakeEncoder(noise=0.5)), source=source).metrics["top5"]
    assert metric.controls["shuffled"] == pytest.approx(metric.chance, abs=0.05)  # 600 rows: three standard errors


def test_groups_score_as_their_best_class(things: str) -> None:
    report = evaluate("zero_shot", Bench(FakeEncoder()), source=things, label="thing", group="family", top=[1])
    assert value(report, "top1") == 1 and report.facts["classes"] == 3
    assert report.metrics["top1"].controls["majority"] == pytest.approx(14 / 40)  # families of 7, 7 and 6 things
    assert report.confusion == {
        "names": ["family 0", "family 1", "family 2"],
        "counts": [[14, 0, 0], [0, 14, 0], [0, 0, 12]],
    }
    assert "mean_recall" not in report.metrics


def test_unbalanced_classes_have_a_mean_recall(tmp_path: Path) -> None:
    samples = [
        Sample(
            key=f"row-{number}",
            members={"png": picture(0 if number < 8 else number)},
            # The last picture shows thing 9 and is called thing 8: half of the rare class is lost.
            info={"caption": f"thing {0 if number < 8 else 8}", "licence": "CC0-1.0", "source": "made up"},
        )
        for number in range(10)
    ]
    source = write(tmp_path / "unbalanced", samples, ("image",))
    report = evaluate("zero_shot", Bench(FakeEncoder()), source=source)
    recall = sum(accuracy for accuracy, _ in report.classes.values()) / 2
    assert value(report, "mean_recall") == pytest.approx(recall)
    assert report.metrics["top1"].controls["majority"] == pytest.approx(0.8)


def test_clusters_widen_the_interval(tmp_path: Path) -> None:
    source = make_things(tmp_path / "set", things=20, styles=["a", "b", "c", "d"])
    bench = Bench(FakeEncoder(noise=1.5))
    alone = evaluate("zero_shot", bench, source=source, modality="audio").metrics["top1"]
    clustered = evaluate("zero_shot", bench, source=source, modality="audio", cluster="thing").metrics["top1"]
    assert alone.value == clustered.value and alone.method == "wilson" != clustered.method


def test_several_prompts_are_averaged(things: str) -> None:
    report = evaluate(
        "zero_shot", Bench(FakeEncoder()), source=things, prompts=["{}", "a {} here"], where={"style": "dark"}
    )
    assert value(report, "top1") == 1 and report.num_rows == 20


@pytest.mark.parametrize(("query", "target"), [("text", "image"), ("audio", "image"), ("image", "audio")])
def test_several_right_answers_all_count(query: str, target: str, things: str) -> None:
    report = evaluate(
        "retrieval", Bench(FakeEncoder(noise=0.1)), source=things, query=query, target=target, match="thing"
    )
    assert report.facts["right_answers_per_query"] == 2 and report.facts["pool"] == 40
    assert value(report, "R@1") == 1 and value(report, "mAP@10") == pytest.approx(1)
    assert (
        report.metrics["mAP@10"].controls.keys() == report.metrics["R@1"].controls.keys() >= {"shuffled", "constant"}
    )
    assert report.metrics["mAP@10"].controls["constant"] < 0.3  # one order for every query
    assert report.metrics["R@1"].chance == pytest.approx(2 / 40)


def test_equal_files_stand_in_the_pool_once(tmp_path: Path) -> None:
    samples = [
        Sample(
            key=f"row-{number}",
            members={"png": picture(number // 2), "wav": tones(number)},
            info={"caption": str(number), "thing": str(number // 2), "licence": "CC0-1.0", "source": "made up"},
        )
        for number in range(8)
    ]
    source = write(tmp_path / "doubled", samples, ("image", "audio"))
    report = evaluate("retrieval", Bench(FakeEncoder()), source=source, query="audio", target="image", match="thing")
    assert report.facts["pool"] == 4 and report.num_rows == 8


def test_an_order_blind_encoder_is_at_chance_or_below(sequences: str) -> None:
    seeing = evaluate("order", Bench(FakeEncoder(noise=0.2)), source=sequences)
    assert value(seeing, "group") == 1 and seeing.facts["pairs"] == 66
    assert seeing.metrics["group"].controls["shuffled"] < 0.4
    # The longer caption wins both times, so that one clip of each pair is right, or none where the lengths are equal.
    assert seeing.metrics["text"].controls["text_length"] == seeing.metrics["audio"].controls["text_length"] == 0
    assert seeing.metrics["two_way"].controls["text_length"] <= 0.5
    blind = evaluate("order", Bench(FakeEncoder(noise=0.2, kind="bag")), source=sequences)
    assert value(blind, "group") < 0.35 and 0.3 < value(blind, "two_way") < 0.7
    assert value(evaluate("order", Bench(FakeEncoder(kind="constant")), source=sequences), "two_way") == 0


def test_the_gap_report_draws_every_modality(things: str) -> None:
    report = evaluate("modality_gap", Bench(FakeEncoder(noise=0.1)), source=things)
    assert set(report.metrics) == {"gap image-audio", "gap image-text", "gap audio-text"}
    assert len(report.scatter) == 3 * 40 and {point["modality"] for point in report.scatter} == {
        "image", "audio", "text",
    }  # fmt: skip


def test_health_tells_a_collapsed_model_from_a_spread_one(things: str) -> None:
    fields: dict[str, Any] = {"source": things, "modalities": ["image", "audio", "text"]}
    spread = evaluate("health", Bench(FakeEncoder(noise=0.1), FakeEncoder(noise=1, kind="random")), **fields)
    collapsed = evaluate("health", Bench(FakeEncoder(kind="constant")), **fields)
    assert set(spread.metrics) == set(EVALUATORS.get("health").metric_names(spread_config(**fields)))
    assert value(spread, "effective rank image") > 10 > value(collapsed, "effective rank image") == 1
    assert value(collapsed, "anisotropy text") == pytest.approx(1) and value(collapsed, "uniformity text") == 0
    aligned = spread.metrics["alignment image-audio"]
    assert aligned.value < 0.2 < 1 < aligned.controls["shuffled"] and aligned.high is not None
    even = spread.metrics["uniformity image"].controls["spread_evenly"]
    assert even < value(spread, "uniformity image") < 0  # twenty things, each twice: less spread than forty directions
    assert spread.metrics["separability image-text"].chance == 0.5
    assert sum(spread.spectra["image"]) == pytest.approx(1, abs=1e-5) and len(spread.scatter) == 3 * 40


def spread_config(**fields: Any) -> Any:
    return parse(EVALUATORS.get("health").Config, fields)


def test_embeddings_are_computed_once_for_all_evaluators(things: str) -> None:
    encoder = FakeEncoder()
    bench = Bench(encoder)
    evaluate("zero_shot", bench, source=things)
    evaluate("retrieval", bench, source=things, query="image", target="text")
    evaluate("retrieval", bench, source=things, query="text", target="image")
    assert encoder.calls == [("image", 40), ("text", 20), ("text", 20)]  # captions, and their sorted words


def test_rows_that_do_not_decode_are_named(tmp_path: Path) -> None:
    def sample(key: str, thing: str, **members: bytes) -> Sample:
        return Sample(key=key, members=members, info={"caption": thing, "licence": "CC0-1.0", "source": "made up"})

    samples = [sample(f"good-{number}", f"thing {number}", png=picture(number)) for number in range(6)]
    samples += [sample("broken", "thing 7", png=b"not a picture"), sample("absent", "thing 8", gif=picture(8))]
    source = write(tmp_path / "damaged", samples, ("image",))
    report = evaluate("zero_shot", Bench(FakeEncoder()), source=source)
    assert report.num_rows == 6 and len(report.missing) == 2
    assert "broken" in report.missing[0] and "absent" in report.missing[1] and ".png" in report.missing[1]


def test_assigning_all_rows_at_once_helps_a_biased_model(tmp_path: Path) -> None:
    source = make_things(tmp_path / "set", things=8, styles=("a", "b", "c"))
    bench = Bench(Leaning(noise=0.6), FakeEncoder(noise=1, kind="random"))
    for prior in ("uniform", "observed"):
        report = evaluate("zero_shot", bench, source=source, label="thing", top=[1], class_prior=prior)
        plain, balanced = report.metrics["top1"], report.metrics["top1 balanced"]
        assert plain.value < 0.6 < 0.8 < balanced.value and balanced.chance == pytest.approx(1 / 8)
        assert balanced.controls["constant"] == 0 and balanced.controls["untrained"] < 0.5
        assert np.mean(report.per_item[0].values["top1 balanced"]) == pytest.approx(balanced.value)
        assert "all 24 test rows together" in report.facts["transductive"]


def test_matching_all_queries_at_once_helps_where_some_targets_are_hubs(tmp_path: Path) -> None:
    source = make_things(tmp_path / "set", things=8, styles=("a",))
    report = evaluate(
        "retrieval", Bench(Leaning(noise=0.6)), source=source, query="image", target="text", recall=[1], balanced=True
    )
    assert report.metrics["R@1"].value < 0.6 < 0.8 < report.metrics["R@1 balanced"].value
    assert np.mean(report.per_item[0].values["R@1 balanced"]) == pytest.approx(report.metrics["R@1 balanced"].value)
    assert report.metrics["R@1 balanced"].controls["constant"] == 0 and "at once" in report.facts["transductive"]
    plain = evaluate("retrieval", Bench(Leaning()), source=source, query="image", target="text", recall=[1])
    assert "R@1 balanced" not in plain.metrics and "transductive" not in plain.facts


class Leaning(FakeEncoder):
    """Pictures lean towards thing 3, whatever they show."""

    def _row(self, modality: str, item: Any) -> Tensor:
        row = super()._row(modality, item)
        return row if modality == "text" else row + 1.2 * point(3, salt="0")


def test_a_query_whose_target_is_lost_is_named(tmp_path: Path) -> None:
    samples = [
        Sample(
            key=f"row-{number}",
            members={"png": picture(number), "wav": b"" if number == 2 else tones(number)},
            info={"caption": f"thing {number}", "licence": "CC0-1.0", "source": "made up"},
        )
        for number in range(4)
    ]
    source = write(tmp_path / "silent", samples, ("image", "audio"))
    report = evaluate("retrieval", Bench(FakeEncoder()), source=source, query="image", target="audio")
    assert report.num_rows == 3 and value(report, "R@1") == 1
    assert len(report.missing) == 2 and any("no audio of equal 'caption'" in message for message in report.missing)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"where": {"style": "drak"}}, "no row of .* has style = 'drak'. Did you mean 'dark'"),
        ({"where": {"stile": "dark"}}, "no field 'stile'. Did you mean 'style'"),
        ({"label": "captoin"}, "no field 'captoin'. Did you mean 'caption'"),
        ({"prompts": ["a thing"]}, "every prompt needs a {}"),
    ],
)
def test_mistakes_are_named(fields: dict[str, Any], words: str, things: str) -> None:
    with pytest.raises(ConfigError, match=words):
        evaluate("zero_shot", Bench(FakeEncoder()), source=things, **fields)


def test_a_missing_set_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="nothing is at '.*nowhere'"):
        evaluate("zero_shot", Bench(FakeEncoder()), source=str(tmp_path / "nowhere"))


def test_a_set_without_the_column_says_what_it_has(sequences: str) -> None:
    with pytest.raises(ConfigError, match="no column 'image'; it has: audio"):
        evaluate("zero_shot", Bench(FakeEncoder()), source=sequences)


def test_sequences_without_pairs_are_refused(things: str) -> None:
    with pytest.raises(ConfigError, match="no two rows share a 'caption'"):
        evaluate("order", Bench(FakeEncoder()), source=things, pair="caption")
