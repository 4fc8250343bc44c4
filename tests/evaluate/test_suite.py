"""Suites, the result on disk, the printed table, the report and comparisons."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from mmcontrast.errors import ConfigError
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import worst
from mmcontrast.evaluate.command import read_training
from mmcontrast.evaluate.compare import compare_runs, paired, print_comparison, write_comparison
from mmcontrast.evaluate.plots import interval, lines, nice_ticks
from mmcontrast.evaluate.report_html import write_report
from mmcontrast.evaluate.suite import (
    SuiteResult,
    read_result,
    read_suite,
    result_tree,
    run_suite,
    suite_names,
    write_result,
)
from mmcontrast.evaluate.table import other_controls, print_table
from tests.evaluate.fakes import FakeEncoder, make_sequences, make_things

SUITE = """
about: "Made-up <things>."
evals:
  style: {{type: zero_shot, source: {things}, where: {{style: dark}}, title: "Dark things"}}
  families:
    {{type: zero_shot, source: {things}, modality: audio, label: thing, group: family, cluster: thing, top: [1]}}
  pictures: {{type: retrieval, source: {things}, query: text, target: image, match: thing}}
  sounds: {{type: retrieval, source: {things}, query: image, target: audio, match: thing}}
  order: {{type: order, source: {sequences}}}
  gap: {{type: modality_gap, source: {things}}}
targets: {{style.top1: 0.5, pictures.R@5: 1.01}}
"""
TRAINING = [
    {"step": step, "loss": 3 / step, "loss/contrast": 3 / step, "contrast/image-text": 3 / step,
     "contrast/image-text.logit_scale": 14.0 + step, "learning_rate": 1e-3, "rows": 64 * step, "seconds": 2.0 * step,
     "samples_per_second": 100.0, "data_wait_fraction": None if step == 1 else 0.01}
    for step in range(1, 9)
]  # fmt: skip


@pytest.fixture(scope="module")
def suite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    things = make_things(folder / "things", things=12)
    sequences = make_sequences(folder / "sequences", tones_used=6)
    path = folder / "small.yaml"
    path.write_text(SUITE.format(things=things, sequences=sequences), encoding="utf-8")
    return path


def evaluate(path: Path, *, noise: float = 0.9, modalities: tuple[str, ...] | None = None) -> SuiteResult:
    encoder = FakeEncoder(noise=noise)
    encoder.modalities = modalities or encoder.modalities
    name, suite = read_suite(str(path))
    about = {"run": "made up", "checkpoint": "step-00000008", "weights_sha256": "0" * 64, "training": TRAINING}
    return run_suite(name, suite, encoder, untrained=FakeEncoder(noise=1.0, kind="random"), about=about)


def test_every_shipped_suite_reads_and_names_real_metrics() -> None:
    assert "quickstart" in suite_names()
    for name in suite_names():
        _, suite = read_suite(name)
        assert suite.evals and all(evaluator.registry_name in EVALUATORS.names() for evaluator in suite.evals.values())


def test_the_result_is_json_without_nan_and_reads_back(suite_file: Path, tmp_path: Path) -> None:
    result = evaluate(suite_file)
    path = write_result(result, tmp_path / "out")
    assert "NaN" not in path.read_text(encoding="utf-8")
    found, tree = read_result(tmp_path)
    assert found == path and tree == json.loads(json.dumps(result_tree(result)))
    assert tree["schema"] == "mmcontrast.eval/1" and set(tree["evaluators"]) == set(result.reports)
    style = tree["evaluators"]["style"]
    assert style["metrics"]["top1"]["target"] == 0.5 and style["num_missing"] == 0 and style["prompts_sha256"]
    assert all(len(each["manifest_sha256"]) == 64 for each in tree["about"]["data"].values())
    for facts in (tree["about"]["preprocessing"], tree["protocol"]):
        assert len(facts["sha256"]) == 64
    assert tree["about"]["environment"]["device"] == "cpu" and tree["about"]["environment"]["processor"]
    assert read_suite(str(tmp_path / "out" / "suite.yaml"))[1] == result.suite


def test_the_worst_queries_are_shown_worst_first(suite_file: Path, tmp_path: Path) -> None:
    tree = result_tree(evaluate(suite_file, noise=1.5))
    for name in ("style", "pictures"):
        ranks = [example["rank"] for example in tree["evaluators"][name]["failures"]]
        assert ranks == sorted(ranks, reverse=True) and ranks[-1] > 1
        assert ranks[0] == max(ranks + [each["rank"] for each in tree["evaluators"][name]["gallery"]])
    galleries = [each for each in tree["evaluators"].values() if each["failures"]]
    assert write_report(tree, tmp_path).read_text(encoding="utf-8").count("Furthest off</h4>") == len(galleries)
    margin, wrong = torch.tensor([0.5, 2.0, 0.1, 2.0]), torch.tensor([True, True, False, True])
    assert worst(margin, wrong, 2) == [1, 3] and worst(margin, wrong, 9) == [1, 3, 0]


def test_what_a_reader_must_know_is_printed(
    suite_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "large.yaml"
    text = suite_file.read_text(encoding="utf-8")
    other.write_text(text.replace("target: image, match: thing", "target: image, match: thing, recall: [1, 5, 50]"))
    tree, usual = (result_tree(evaluate(path)) for path in (other, suite_file))
    assert tree["protocol"]["sha256"] != usual["protocol"]["sha256"]  # another recall is another protocol
    assert usual["evaluators"]["pictures"]["notes"] == []
    (note,) = tree["evaluators"]["pictures"]["notes"]
    assert note == "k = 50 is above the 24 in the pool: every query counts as found"
    tree["evaluators"]["pictures"]["missing"] = [f"row {number}: damaged" for number in range(5)]
    tree["evaluators"]["pictures"]["num_missing"] = 5
    print_table(tree)
    printed = capsys.readouterr().out
    assert f"note on pictures: {note}" in printed and "untrained" in printed
    assert "pictures: 5 rows could not be used" in printed and "row 2: damaged" in printed and "row 3" not in printed


def test_a_nan_becomes_null(suite_file: Path, tmp_path: Path) -> None:
    result = evaluate(suite_file)
    result.about["odd"] = float("nan")
    _, tree = read_result(write_result(result, tmp_path))
    assert tree["about"]["odd"] is None


def test_a_missing_modality_is_skipped_and_said(suite_file: Path) -> None:
    result = evaluate(suite_file, modalities=("image", "text"))
    assert set(result.reports) == {"style", "pictures"}
    assert result.skipped["order"] == "the model has no audio tower"


def test_the_table_says_what_was_reached(suite_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(result_tree(evaluate(suite_file, noise=0.1)))
    printed = capsys.readouterr().out
    assert "Dark things" in printed and "targets reached: 1 of 2" in printed
    assert re.search(r"top1 .* 100\.0 .* reached", printed) and re.search(r"R@5 .* not reached", printed)


def test_controls_without_a_column_are_named(
    suite_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = result_tree(evaluate(suite_file))
    metric = tree["evaluators"]["order"]["metrics"]["two_way"]
    # A caption and its reversal have the same length: nothing to tell them apart by.
    assert other_controls(metric) == ["bag of words 0.0", "constant 50.0", "order insensitive 0.0", "text length 0.0"]
    print_table(tree)
    names = (r"group .* bag of words 0\.0,", r"constant 0\.0,", r"order insensitive 0\.0,", r"text length 0\.0 ")
    assert re.search(r".*\n.* ".join(names), capsys.readouterr().out)
    text = write_report(tree, tmp_path).read_text(encoding="utf-8")
    assert "<span>bag of words 0.0</span>, <span>constant 50.0</span>" in text


def test_the_report_needs_nothing_outside_itself(suite_file: Path, tmp_path: Path) -> None:
    page = write_report(result_tree(evaluate(suite_file)), tmp_path)
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href|url|srcset|xlink:href)\s*[=(]\s*["']?(https?:|//|file:)""", text)
    assert "<script" not in text and "@import" not in text
    references = re.findall(r'(?:src|href)="([^"#][^"]{0,15})', text)
    assert references and all(each.startswith("data:") for each in references)
    for words in ("data:image/png;base64,", "data:audio/wav;base64,", "Which came first?", "The shared space",
                  "Loss", "Made-up &lt;things&gt;.", "CC0-1.0: 24", "1 of 2"):  # fmt: skip
        assert words in text


def test_a_report_without_its_data_still_draws(suite_file: Path, tmp_path: Path) -> None:
    tree = json.loads(json.dumps(result_tree(evaluate(suite_file))))
    for report in tree["evaluators"].values():
        for example in report["gallery"]:
            for shown in (example["query"], *example["answers"]):
                shown["source"] = str(tmp_path / "gone")
    text = write_report(tree, tmp_path).read_text(encoding="utf-8")
    assert "picture not kept" in text and "sound not kept" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("evals: {a: {type: zero_shto, source: x}}", "Did you mean 'zero_shot'"),
        ("evals: {a: {type: zero_shot, source: x}}\ntargets: {a.top3: 0.5}", "targets.a.top3: no evaluator gives"),
        ("evals: {a: {type: retrieval, source: x, query: text, target: text}}", "must be two modalities"),
    ],
)
def test_mistakes_in_a_suite_are_named(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        read_suite(str(path))


def test_unknown_suites_and_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'quickstart'"):
        read_suite("quickstrat")
    with pytest.raises(ConfigError, match="no results.json"):
        read_result(tmp_path)
    (tmp_path / "results.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="not a result of schema"):
        read_result(tmp_path)


def test_runs_are_compared_query_by_query(
    suite_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, noise in (("first", 1.6), ("second", 0.1)):
        write_result(evaluate(suite_file, noise=noise), tmp_path / name)
    comparison = compare_runs([tmp_path / "first", tmp_path / "second"])
    assert comparison.names == ["made up step-00000008 (1)", "made up step-00000008 (2)"] and not comparison.warnings
    line = next(each for each in comparison.lines if (each.evaluator, each.metric) == ("style", "top1"))
    assert line.paired is not None and line.paired.count == 12
    assert line.values[0] is not None and line.values[1] is not None
    assert line.paired.difference == pytest.approx(line.values[1] - line.values[0], abs=1e-6)  # float32 hits
    print_comparison(comparison)
    assert "Dark things" in capsys.readouterr().out
    text = write_comparison(comparison, tmp_path).read_text(encoding="utf-8")
    assert "Dark things" in text and "http" not in text
    certain = [each for each in comparison.lines if each.paired and not each.paired.low <= 0 <= each.paired.high]
    assert 0 < len(certain) < len(comparison.lines) and text.count("<b>") == len(certain)


def independent(**values: float) -> dict[str, tuple[float, str]]:
    return {key: (value, key) for key, value in values.items()}


def test_a_paired_difference_uses_only_shared_queries() -> None:
    found = paired(independent(a=0, b=1, c=1), independent(b=0, c=1, d=1))
    assert found is not None and found.count == 2 and found.difference == -0.5 and found.p_value == 1
    assert paired(independent(a=1), independent(b=1)) is None


def test_graded_and_clustered_queries_have_no_exact_test() -> None:
    graded = paired(independent(a=0.5, b=0.25), independent(a=1.0, b=0.25))
    assert graded is not None and graded.p_value is None
    clustered = paired({"a": (0, "x"), "b": (1, "x")}, {"a": (1, "x"), "b": (1, "x")})
    assert clustered is not None and clustered.p_value is None and clustered.low == clustered.high == 0.5


def test_training_rows_are_thinned_and_a_cut_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(1000)) + '{"step": 10', "utf-8")
    rows = read_training(path)
    assert len(rows) <= 301 and rows[0]["step"] == 0 and rows[-1]["step"] == 999
    assert read_training(tmp_path / "none.jsonl") == []


def test_plots_survive_flat_and_empty_series() -> None:
    assert lines({"a": []}, title="t") == "" and "<polyline" in lines({"a": [(1, 0.0), (2, 0.0)]}, title="t")
    assert nice_ticks(0, 10) == [0, 2, 4, 6, 8, 10] and nice_ticks(3, 3) != []
    assert "circle" in interval(1.5, None, None, chance=None, goal=None)
