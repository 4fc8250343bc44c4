"""Several objectives under one setup: each seed is a run of its own, the report states means and intervals."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mmcontrast.comparison import command, measure, plots
from mmcontrast.comparison.measure import measured
from mmcontrast.comparison.numbers import Number
from mmcontrast.comparison.setup import read_comparison, runs_of
from mmcontrast.config import dump
from mmcontrast.errors import ConfigError, MMContrastError
from mmcontrast.run import Run, check

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "configs/compare/objectives.yaml"
LISTS = (SHIPPED, SHIPPED.with_name("objectives_long.yaml"))
TINY = """
base: {base}
out: {out}
seeds: [0, 1]
steps: 2
changes: {{data: {{workers: 0}}, log: {{every_steps: 1, tensorboard: false}}}}
candidates:
  infonce: {{contrast: {{type: infonce, pairs: [[image, text], [audio, text]], group: group}}}}
  siglip: {{images: {{type: siglip, pair: [image, text]}}, sounds: {{type: siglip, pair: [audio, text]}}}}
suite: {suite}
"""
SUITE = """
about: "a tiny suite"
evals:
  style: {type: zero_shot, title: style, source: "package:quickstart/trimodal-test", label: thing}
"""


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_a_shipped_comparison_differs_in_objectives_and_seeds_alone(path: Path) -> None:
    runs = runs_of(read_comparison(path), beside=path.parent)
    first = next(iter(runs.values()))
    for run in runs.values():
        for field in ("model", "data", "optimizer", "schedule", "steps", "engine", "step"):
            assert getattr(run, field) == getattr(first, field)
        check(run)
    assert len({run.out for run in runs.values()}) == len(runs)


def test_the_half_interval_is_students() -> None:
    number = Number([1.0, 2.0, 3.0])
    assert number.mean == 2.0
    assert number.half == pytest.approx(4.303 / 3**0.5)
    assert Number([1.0]).half is None


def test_differences_are_seed_by_seed() -> None:
    first, second = Number([1.0, 2.0, 3.0]), Number([1.5, 2.6, 3.4])
    difference = second.minus(first)
    assert difference is not None and difference.mean == pytest.approx(0.5)
    assert difference.half == pytest.approx(4.303 * 0.1 / 3**0.5) and difference.is_apart_from_zero
    # Each alone spreads far more than they differ.
    assert first.half is not None and first.half > 2
    assert not Number([0.0, 0.0, 0.0]).is_apart_from_zero and first.minus(Number([1.0])) is None


def test_the_report_holds_every_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pretended(run: Run, suite: str) -> dict[str, float]:
        assert suite == "drawings"
        return {"accuracy": 0.5 + 0.1 * run.seed, "seconds per step": 1.0}

    monkeypatch.setattr(command, "measured", pretended)
    report = command.compare(SHIPPED, [f"out={tmp_path}", "seeds=[0, 1]", "steps=2"])
    tree = json.loads((tmp_path / "comparison.json").read_text())
    assert set(tree["numbers"]) == set(read_comparison(SHIPPED).candidates)
    assert tree["numbers"]["infonce"]["accuracy"]["values"] == [0.5, 0.6]
    assert tree["numbers"]["siglip"]["accuracy"]["difference"] == 0.0
    page = report.read_text()
    assert all(name in page for name in tree["numbers"]) and "55% \u00b1 64" in page and "2 seed(s)" in page
    figure = (tmp_path / "figure.svg").read_text()
    assert figure.count(">decoupled<") == page.count(">decoupled</text>") == 2  # a panel a measure


def test_plots_mark_what_differs_and_join_alignment_with_uniformity() -> None:
    def row(alignment: float) -> dict[str, Number]:
        return {
            "space: alignment image-text": Number([alignment, alignment + 0.01]),
            "space: uniformity image": Number([-1.0, -1.02]),
            "space: uniformity text": Number([-3.0, -3.01]),
        }

    numbers = {"first": row(1.0), "same": row(1.0), "far": row(2.0)}
    numbers["same"]["space: alignment image-text"] = Number([1.0, 1.02])
    panels = {judged: plots.panel("space: alignment image-text", numbers, judged=judged) for judged in (True, False)}
    assert panels[True].count(f'fill="{plots.APART}"') == 1 and plots.APART not in panels[False]
    drawn = plots.alignment_and_uniformity(numbers)
    assert all(f">{name}<" in drawn for name in numbers) and ">-2<" in drawn  # the mean of both modalities
    assert plots.alignment_and_uniformity({name: {} for name in numbers}) == ""
    ElementTree.fromstring(plots.figure([*panels.values(), drawn]))  # well-formed


def test_a_measured_run_is_not_trained_again(tmp_path: Path) -> None:
    run = runs_of(read_comparison(SHIPPED, [f"out={tmp_path}"]), beside=SHIPPED.parent)["infonce", 0]
    run.out.mkdir(parents=True)
    saved = {"run": dump(run), "suite": "quickstart", "numbers": {"accuracy": 0.25}}
    (run.out / "measured.json").write_text(json.dumps(saved))
    assert measured(run, "quickstart") == {"accuracy": 0.25}


@pytest.mark.parametrize("begun", [False, True])
def test_cpu_seconds_are_those_of_whole_trainings(
    begun: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs_of(read_comparison(SHIPPED, [f"out={tmp_path}"]), beside=SHIPPED.parent)["infonce", 0]

    def pretended(arguments: list[str], *, log: Path) -> dict[str, float]:
        (run.out / "checkpoints").mkdir(parents=True, exist_ok=True)
        return {"CPU seconds": 9.0, "peak MiB": 300.0}

    monkeypatch.setattr(measure, "run_command", pretended)
    monkeypatch.setattr(measure, "scores", lambda folder: {"accuracy": 0.5})
    monkeypatch.setattr(measure, "speed", lambda metrics: {"last loss": 1.0})
    if begun:  # by a former call, which was stopped
        (run.out / "checkpoints").mkdir(parents=True)
    found = measured(run, "quickstart")
    assert found["peak MiB"] == 300.0 and ("CPU seconds" in found) == (not begun)


def test_a_comparison_of_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("{base: base.yaml, out: out, candidates: {}}")
    with pytest.raises(ConfigError, match="name one or more"):
        read_comparison(path)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    (tmp_path / "suite.yaml").write_text(SUITE)
    path = tmp_path / "comparison.yaml"
    base = ROOT / "configs/smoke/quickstart_tiny.yaml"
    path.write_text(TINY.format(base=base, out=tmp_path / "out", suite=tmp_path / "suite.yaml"))
    return path


@pytest.mark.slow
def test_runs_are_trained_evaluated_and_reported(tiny: Path) -> None:
    report = command.compare(tiny)
    numbers = json.loads((report.parent / "comparison.json").read_text())["numbers"]
    assert set(numbers) == {"infonce", "siglip"}
    for each in numbers.values():
        assert len(each["style: top1"]["values"]) == len(each["peak MiB"]["values"]) == 2
        assert (
            each["seconds per step"]["mean"] > 0 and each["peak MiB"]["mean"] > 100 and each["CPU seconds"]["mean"] > 0
        )
    assert numbers["infonce"]["last loss"]["values"][0] != numbers["infonce"]["last loss"]["values"][1]


@pytest.mark.slow
def test_a_run_that_fails_says_its_last_line(tiny: Path, tmp_path: Path) -> None:
    run = next(iter(runs_of(read_comparison(tiny), beside=tmp_path).values()))
    with pytest.raises(MMContrastError, match=r"(?s)exit code 2: .*no such suite.*eval\.log"):
        measured(run, "no such suite")
