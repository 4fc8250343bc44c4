"""Evaluation during training: the offline numbers, on any engine and ranks, and a training that does not notice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcontrast.checkpoint import load_model_state
from mmcontrast.errors import ConfigError, EvaluationFailed
from mmcontrast.evals import EvalConfig
from mmcontrast.evaluate.command import run_command
from mmcontrast.evaluate.encoder import TowerEncoder
from mmcontrast.evaluate.while_training import Evaluations, check_evals
from mmcontrast.run import Run
from mmcontrast.train import train
from mmcontrast.watchdog import Watchdog
from tests.dist.pool import on_ranks
from tests.evaluate.fakes import make_things
from tests.small_run import run_of, tree

SUITE = """
evals:
  pictures: {{type: zero_shot, source: {things}, label: thing, examples: 0}}
  sounds: {{type: retrieval, source: {things}, query: audio, target: text, where: {{style: plain}}, examples: 0}}
"""
KNN = {"type": "knn", "label": "thing", "where": {"style": "dark"}, "train_where": {"style": "plain"}}


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> str:
    """160 rows: two blocks, one a rank."""
    return make_things(tmp_path_factory.mktemp("sets") / "things", things=80)


@pytest.fixture(scope="module")
def suite(things: str) -> str:
    path = Path(things).parent / "small.yaml"
    path.write_text(SUITE.format(things=things), encoding="utf-8")
    return str(path)


def rows(folder: Path) -> dict[int, dict[str, Any]]:
    """Rows of metrics.jsonl by step."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {row["step"]: row for row in found}


def check_against_offline(out: Path, suite: str, *, name: str, step: int, weights: Any = "raw") -> None:
    """What training wrote equals ``mmcontrast eval run`` on the checkpoint of the same step, to the last digit."""
    checkpoint = out / f"checkpoints/step-{step:08d}"
    offline, _ = run_command(checkpoint, suite=suite, out=out / f"offline-{weights}", weights=weights)
    online = out / "eval/training" / name / checkpoint.name
    expected = json.loads((offline / "results.json").read_text(encoding="utf-8"))["evaluators"]
    row = rows(out)[step]
    for label, each in expected.items():
        for metric, said in each["metrics"].items():
            assert row[f"eval/{name}/{label}/{metric}"] == said["value"], (label, metric)
    assert (online / "per_item.jsonl").read_bytes() == (offline / "per_item.jsonl").read_bytes()
    found = json.loads((online / "results.json").read_text(encoding="utf-8"))["evaluators"]
    for label in expected:
        assert found[label]["facts"] == expected[label]["facts"]
        for metric, said in found[label]["metrics"].items():
            controls = expected[label]["metrics"][metric]["controls"]
            controls.pop("untrained", None)  # only offline
            assert said | {"controls": said["controls"] or controls} == expected[label]["metrics"][metric]


def test_training_does_not_notice_and_the_numbers_are_those_of_a_checkpoint(
    sets: dict[str, str], things: str, suite: str, tmp_path: Path
) -> None:
    evals = {
        "small": {"suite": suite, "every_steps": 3, "at_end": True},
        "averaged": {"suite": suite, "at_end": True, "weights": "ema"},
        "near": {"evaluator": {**KNN, "source": things, "train_source": things}, "every_epochs": 0.5},
    }
    best = {
        "every_steps": 4,
        "keep": 2,
        "keep_best": 1,
        "best_metric": "eval/small/sounds/mAP@10",
        "best_is": "highest",
    }
    fields: dict[str, Any] = {"steps": 6, "ema": {"decay": 0.5, "warmup": False}}
    train(run_of(sets, tmp_path / "with", evals=evals, checkpoint=best, **fields))
    train(run_of(sets, tmp_path / "without", checkpoint={"every_steps": 4, "keep": 9}, **fields))
    for step in (4, 6):  # dropout, masks and the order of samples are drawn as if nothing had been evaluated
        place = f"checkpoints/step-{step:08d}"
        expected, found = (load_model_state(tmp_path / name / place) for name in ("without", "with"))
        assert all(torch.equal(found[key], value) for key, value in expected.items())
    written = rows(tmp_path / "with")
    assert sorted(step for step, row in written.items() if "eval/small/pictures/top1" in row) == [3, 6]
    # Half an epoch of 32 pictures is 16 rows, and each step draws 8 of them.
    assert sorted(step for step, row in written.items() if "eval/near/top1, k = 1" in row) == [2, 4, 6]
    check_against_offline(tmp_path / "with", suite, name="small", step=6)
    check_against_offline(tmp_path / "with", suite, name="averaged", step=6, weights="ema")
    assert rows(tmp_path / "with")[6]["eval_failures"] == 0
    # Checkpoints: the newest two, and of the evaluated steps 3 and 6 the better one.
    values = {step: written[step]["eval/small/sounds/mAP@10"] for step in (3, 6)}
    kept = {4, 6, max(values, key=lambda step: (values[step], step))}
    assert {int(path.name[-8:]) for path in (tmp_path / "with/checkpoints").glob("step-*")} == kept


def on_rank(run: Run, failing: int | None) -> int:
    """One rank's training; the encoder of rank ``failing`` breaks off."""
    whole = TowerEncoder.encode

    def broken(self: TowerEncoder, modality: str, items: Any, *, progress: str | None = None) -> torch.Tensor:
        if modality == "audio" and torch.distributed.get_rank() == failing:
            raise ZeroDivisionError("built in")
        return whole(self, modality, items, progress=progress)

    TowerEncoder.encode = broken  # type: ignore[method-assign]
    return train(run).step


ZERO = {"type": "deepspeed", "stage": 3, "persist_elements": 0, "device": "cpu"}


@pytest.mark.parametrize(
    "engine", [{"type": "ddp", "device": "cpu"}, pytest.param(ZERO, marks=pytest.mark.slow)], ids=["ddp", "zero3"]
)
def test_two_ranks_give_the_numbers_of_one_process(
    engine: dict[str, Any], sets: dict[str, str], suite: str, tmp_path: Path
) -> None:
    evals = {
        "small": {"suite": suite, "every_steps": 2},
        "averaged": {"suite": suite, "at_end": True, "weights": "ema"},
    }
    fields = {"engine": engine, "steps": 4, "ema": {"decay": 0.5, "warmup": False}}
    run = run_of(sets, tmp_path / "with", evals=evals, checkpoint={"every_steps": 2, "keep": 9}, **fields)
    assert on_ranks(on_rank, 2, tmp_path, run, None) == [4, 4]
    for step in (2, 4):
        check_against_offline(tmp_path / "with", suite, name="small", step=step)
    check_against_offline(tmp_path / "with", suite, name="averaged", step=4, weights="ema")
    assert on_ranks(on_rank, 2, tmp_path, run_of(sets, tmp_path / "without", **fields), None) == [4, 4]
    place = "checkpoints/step-00000004"
    expected, found = (load_model_state(tmp_path / name / place) for name in ("without", "with"))
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.slow
def test_captions_written_on_two_ranks_are_those_of_the_checkpoint(
    sets: dict[str, str], things: str, tmp_path: Path
) -> None:
    suite = tmp_path / "captions.yaml"
    text = "evals: {said: {type: captioning, source: THINGS, captions_field: thing, decoder: caption, longest: 4}}"
    suite.write_text(text.replace("THINGS", things), encoding="utf-8")
    model = tree(sets, tmp_path)["model"]
    model["towers"]["text"]["tokenizer"] = {"type": "open_clip"}
    objectives = {
        "main": {"type": "infonce", "pairs": [["image", "text"], ["audio", "text"]], "group": "group"},
        "caption": {"type": "coca", "width": 8, "heads": 2, "layers": 1, "longest": 6},
    }
    run = run_of(
        sets, tmp_path / "run", model=model, objectives=objectives, steps=2, engine={"type": "ddp", "device": "cpu"},
        checkpoint={"every_steps": 2}, evals={"written": {"suite": str(suite), "at_end": True}},
    )  # fmt: skip
    assert on_ranks(on_rank, 2, tmp_path, run, None) == [2, 2]
    check_against_offline(tmp_path / "run", str(suite), name="written", step=2)


@pytest.mark.slow
def test_what_fails_on_one_rank_fails_on_all_and_training_goes_on(
    sets: dict[str, str], suite: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = {"type": "ddp", "device": "cpu"}
    run = run_of(sets, tmp_path / "run", evals={"small": {"suite": suite, "every_steps": 2}}, engine=engine, steps=4)
    assert on_ranks(on_rank, 2, tmp_path, run, 1) == [4, 4]
    row = rows(tmp_path / "run")[4]
    assert row["eval_failures"] == 2 and "eval/small/pictures/top1" in row and "eval/small/sounds/R@1" not in row
    said = "ALARM: evaluation small, sounds, failed after step 2: rank 1: ZeroDivisionError: built in"
    assert said in capfd.readouterr().out
    tree = json.loads((tmp_path / "run/eval/training/small/step-00000004/results.json").read_text(encoding="utf-8"))
    assert set(tree["failed"]) == {"sounds"} and set(tree["evaluators"]) == {"pictures"}


def test_a_failing_evaluator_ends_the_run_where_the_policy_says_so(
    sets: dict[str, str], things: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **named: Any) -> torch.Tensor:
        return torch.full((len(arguments[2]), 8), float("nan"))

    monkeypatch.setattr(TowerEncoder, "encode", broken)
    evals = {"one": {"evaluator": {"type": "zero_shot", "source": things}, "every_steps": 1, "on_error": "stop"}}
    with pytest.raises(EvaluationFailed, match=r"one failed after step 1: the trained encoder gives NaN"):
        train(run_of(sets, tmp_path / "run", evals=evals))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"suite": "quik", "at_end": True}, r"evals.x: no suite is named 'quik'. Did you mean 'quick'"),
        ({"evaluator": {"type": "zero_shot", "source": "GONE"}, "at_end": True}, "GONE.* Or set allow_missing"),
        ({"suite": "image", "at_end": True, "allow_missing": True}, "nothing of it can be run: imagenet"),
        ({"evaluator": {"type": "zero_shot", "source": "THINGS", "where": {"styel": "a"}}, "at_end": True},
         "Did you mean 'style'"),
        ({"evaluator": {"type": "zero_shot", "source": "THINGS", "label": "thnig"}, "at_end": True},
         r"x: .* has no field 'thnig'. Did you mean 'thing'"),
        ({"evaluator": {"type": "hierarchical", "source": "THINGS", "levels": ["thing", "famliy"]}, "at_end": True},
         "Did you mean 'family'"),
        ({"evaluator": {"type": "zero_shot", "source": "THINGS"}, "at_end": True, "weights": "ema"},
         "the run averages no weights"),
    ],
)  # fmt: skip
def test_mistakes_are_found_before_training(
    entry: dict[str, Any], words: str, sets: dict[str, str], things: str, tmp_path: Path
) -> None:
    entry = json.loads(json.dumps(entry).replace("THINGS", things))
    with pytest.raises(ConfigError, match=words):
        train(run_of(sets, tmp_path / "run", evals={"x": entry}))
    assert not (tmp_path / "run/config.yaml").exists()


@pytest.mark.parametrize(
    ("entry", "words"),
    [({"at_end": True}, "give suite or evaluator"), ({"suite": "quick"}, "evals.x: is never due")],
)
def test_an_entry_names_one_thing_and_a_time(
    entry: dict[str, Any], words: str, sets: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        run_of(sets, tmp_path, evals={"x": entry})


def test_best_by_a_number_that_no_evaluation_gives_is_refused(
    sets: dict[str, str], suite: str, tmp_path: Path
) -> None:
    evals = {"small": {"suite": suite, "at_end": True}}
    run = run_of(sets, tmp_path, evals=evals, checkpoint={"keep_best": 1, "best_metric": "eval/small/pictures/top2"})
    with pytest.raises(ConfigError, match=r"no evaluation gives .* Did you mean 'eval/small/pictures/top"):
        check_evals(run)


def test_what_a_model_cannot_do_is_left_out_and_said(sets: dict[str, str], suite: str, tmp_path: Path) -> None:
    fields = {"model": {"dim": 8, "towers": {"image": {"type": "small_resnet", "size": 16},
                                             "text": {"type": "text_transformer", "width": 16}}}}  # fmt: skip
    lines = check_evals(run_of(sets, tmp_path, evals={"small": {"suite": suite, "every_epochs": 2.0}}, **fields))
    assert lines == [
        "evaluation small: pictures; every 2 epochs",
        "evaluation small: sounds is left out, the model has no audio tower",
    ]


def test_epochs_are_counted_on_from_where_a_run_resumes(sets: dict[str, str], things: str, tmp_path: Path) -> None:
    evaluator = {**KNN, "source": things, "train_source": things}
    run = run_of(sets, tmp_path, evals={"near": {"evaluator": evaluator, "every_epochs": 1.5}})
    assert isinstance(run.evals["near"], EvalConfig)
    evaluations = Evaluations(run, watchdog=Watchdog(tmp_path, run.watchdog), say=print)
    evaluations.start(1.75)
    found = [
        bool(evaluations.due(step, last=9, epochs=epochs)) for step, epochs in enumerate((2.0, 2.9, 3.0, 3.2, 4.6))
    ]
    assert found == [False, False, True, False, True]
    assert not evaluations.due(5, last=9, epochs=2.0) and evaluations.due(6, last=9, epochs=3.1)  # after a rollback
