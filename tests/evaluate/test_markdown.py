"""Markdown tables of results: means over seeds, ranges, and how many seeds reached a target."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.markdown import against_table, markdown_table


def result(value: float, *, suite: str = "small") -> dict[str, Any]:
    metric = {
        "value": value, "low": value - 0.1, "high": value + 0.1, "method": "wilson", "count": 50, "chance": 0.02,
        "controls": {"shuffled": 0.02, "untrained": 0.04}, "unit": "share", "target": 0.5,
    }  # fmt: skip
    gap = {**copy.deepcopy(metric), "value": 0.25, "unit": "number", "target": None, "chance": None, "controls": {}}
    return {
        "schema": "mmcontrast.eval/1",
        "suite": suite,
        "evaluators": {"style": {"title": "Dark things", "metrics": {"top1": metric, "gap": gap}}},
    }


def write(folder: Path, tree: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(tree), encoding="utf-8")
    return folder


def test_one_result_shows_its_interval(tmp_path: Path) -> None:
    table = markdown_table([write(tmp_path / "a", result(0.6))]).splitlines()
    assert table[2] == "| Dark things | top1 | 60.0 | 50.0 to 70.0 | 2.0 | 2.0 | 4.0 | 50.0 reached |"
    assert table[3].startswith("|  | gap | 0.250 |") and table[3].endswith("| - | - | - |  |")


def test_seeds_show_mean_range_and_how_many_reached_the_target(tmp_path: Path) -> None:
    folders = [write(tmp_path / str(value), result(value)) for value in (0.4, 0.5, 0.6)]
    row = markdown_table(folders).splitlines()[2]
    assert row == "| Dark things | top1 | 50.0 | 40.0 to 60.0 | 2.0 | 2.0 | 4.0 | 50.0 reached by 2 of 3 |"
    assert markdown_table([folders[0]]).splitlines()[2].endswith("| 50.0 **missed** |")


def test_results_of_two_suites_are_refused(tmp_path: Path) -> None:
    folders = [write(tmp_path / name, result(0.5, suite=name)) for name in ("a", "b")]
    with pytest.raises(ConfigError, match="different suites: a, b"):
        markdown_table(folders)


def test_means_stand_beside_those_of_others_with_the_difference(tmp_path: Path) -> None:
    these = [write(tmp_path / str(value), result(value)) for value in (0.4, 0.5)]
    lacking = result(0.52)
    del lacking["evaluators"]["style"]["metrics"]["gap"]
    others = [write(tmp_path / "other", lacking)]
    assert against_table(these, others).splitlines()[2:] == ["| Dark things | top1 | 45.0 | 52.0 | -7.0 |"]
    lacking["evaluators"] = {}
    with pytest.raises(ConfigError, match="share no metric"):
        against_table(these, [write(tmp_path / "none", lacking)])
