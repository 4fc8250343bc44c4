"""A baseline, its post-trainings and the probes of both: what is compared, what is kept, what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mmcontrast.config import load
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.suite import SCHEMA, Suite
from mmcontrast.mending import command
from mmcontrast.mending.differences import differences
from mmcontrast.mending.setup import BASELINE, Mending, check_metrics, read_mending, runs_of
from mmcontrast.run import check

ROOT = Path(__file__).parents[2]
POSTTRAIN = """
extends: {base}
steps: 2
model: {{training: {{text: {{weights: baseline}}, image: {{weights: baseline}}}}}}
"""
SUITE = """
evals:
  style: {type: zero_shot, title: Style, source: "package:quickstart/trimodal-test", label: thing, top: [1]}
"""
MENDING = """
base: {base}
out: {out}
suite: suite.yaml
seeds: [0, 1]
posttrain: {{again: again.yaml}}
rise: {{again: [style.top1]}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(f"extends: {ROOT / 'configs/quickstart.yaml'}\nsteps: 3\n")
    (tmp_path / "again.yaml").write_text(POSTTRAIN.format(base=tmp_path / "base.yaml"))
    (tmp_path / "suite.yaml").write_text(SUITE)
    path = tmp_path / "mending.yaml"
    path.write_text(MENDING.format(base="base.yaml", out=tmp_path / "out"))
    return path


def test_the_shipped_mending_asks_for_what_its_suite_measures(tmp_path: Path) -> None:
    path = ROOT / "configs/mend/quickstart.yaml"
    mending = read_mending(path, [f"out={tmp_path}"])
    for run in runs_of(mending, beside=path.parent).values():
        check(run)
    suite = load(Suite, path.parent / mending.suite)
    check_metrics(mending, suite)
    probes = set(re.findall(r"probe:{probes}/(\w+)", (path.parent / mending.suite).read_text()))
    assert probes == mending.probes.keys()


def test_a_post_training_starts_from_the_baseline_of_its_seed(config: Path, tmp_path: Path) -> None:
    mending = read_mending(config, [f"baselines.1={tmp_path / 'done'}"])
    runs = runs_of(mending, beside=config.parent)
    assert list(runs) == [(BASELINE, 0), ("again", 0), (BASELINE, 1), ("again", 1)]
    for seed, home in ((0, tmp_path / "out/baseline/seed-0"), (1, tmp_path / "done")):
        assert runs[BASELINE, seed].out == home and runs[BASELINE, seed].steps == 3
        run = runs["again", seed]
        assert run.seed == seed and run.steps == 2
        assert {fields.weights for fields in run.model.training.values()} == {home}


def test_what_cannot_be_compared_is_refused_before_training(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> float:
        raise AssertionError("nothing may run")

    monkeypatch.setattr(command, "run_command", never)
    with pytest.raises(ConfigError, match=r"style\.top3.*Did you mean 'style\.top1'"):
        command.mend(config, ["rise.again=[style.top3]"])
    with pytest.raises(ConfigError, match=r"'agian' is no post-training\. Did you mean 'again'"):
        command.mend(config, ["keep.agian=[style.top1]"])
    with pytest.raises(ConfigError, match="no tower starts from the baseline"):
        command.mend(config, ["posttrain.again=base.yaml"])


def result(folder: Path, values: dict[str, float]) -> Path:
    """Write a result with one metric over these items."""
    metric = {"value": sum(values.values()) / len(values), "unit": "share", "chance": 0.1}
    evaluators = {"style": {"title": "Style", "primary": "top1", "facts": {}, "metrics": {"top1": metric}}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({"schema": SCHEMA, "about": {}, "evaluators": evaluators}))
    items = {"keys": list(values), "clusters": list(values), "values": {"top1": [*values.values()]}}
    (folder / "per_item.jsonl").write_text(json.dumps({"evaluator": "style", **items}))
    return folder


def test_differences_pair_items_and_average_over_seeds(tmp_path: Path) -> None:
    mending = Mending(base=Path("base"), posttrain={"again": Path("again")}, out=tmp_path, suite=Path("suite"),
                      seeds=(0, 1), rise={"again": ("style.top1",)})  # fmt: skip
    items = [str(number) for number in range(40)]
    before, after = dict.fromkeys(items, 0.0), {item: float(int(item) % 2) for item in items}
    results = {(BASELINE, seed): result(tmp_path / f"before-{seed}", before) for seed in (0, 1)}
    results |= {("again", 0): result(tmp_path / "after-0", after), ("again", 1): result(tmp_path / "after-1", before)}
    (found,) = differences(mending, results)
    assert found.before == [0.0, 0.0] and found.after == [0.5, 0.0]
    assert found.mean == 0.25 and found.count == 40 and found.chance == 0.1
    assert found.low is not None and found.high is not None and 0.15 < found.low < 0.25 < found.high < 0.35
    assert found.expected == "rise" and found.reached
    assert not differences(Mending(**{**vars(mending), "rise_points": 26.0}), results)[0].reached


def test_the_whole_way_with_pretended_runs(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[list[str]] = []

    def pretended(arguments: list[str], *, log: Path) -> float:
        said.append(arguments)
        assert log.parent.is_dir()
        if arguments[0] == "eval":
            out = Path(arguments[arguments.index("--out") + 1])
            result(out, {"a": 1.0, "b": 0.0 if BASELINE in str(out) else 1.0})
        return 0.0

    monkeypatch.setattr(command, "run_command", pretended)
    options = ["probes.scenes=[order, --from, captions.csv]"]
    report = command.mend(config, options)
    assert [arguments[0] for arguments in said] == ["probe", *["train", "eval"] * 4]
    page = report.read_text()
    assert "again: style.top1 50.0 -&gt; 100.0, +50.0 points" in page and "2 seed(s)" in page
    said.clear()
    command.mend(config, options)
    assert [arguments[0] for arguments in said] == ["train"] * 4, "results and probes are kept"


@pytest.mark.slow
def test_one_seed_for_real(config: Path, tmp_path: Path) -> None:
    with (tmp_path / "base.yaml").open("a") as stream:
        stream.write("data: {workers: 0, batch_rows: 16}\nlog: {every_steps: 1, tensorboard: false}\nthreads: 1\n")
    report = command.mend(config, ["seeds=[0]"])
    row = json.loads((report.parent / "mending.json").read_text())["differences"][0]
    assert row["count"] > 0 and 0 <= row["before"][0] <= 1 and 0 <= row["after"][0] <= 1
    said = (tmp_path / "out/again/seed-0.train.log").read_text()
    assert f"tower image starts with its head from '{tmp_path / 'out/baseline/seed-0'}'" in said
