"""Objectives and geometries that do not fit are refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmcontrast.config import load
from mmcontrast.errors import ConfigError
from mmcontrast.run import Run, check

TINY = Path(__file__).parent.parent / "configs/smoke/quickstart_tiny.yaml"


def test_dot_products_mean_nothing_on_a_hyperboloid(tmp_path: Path) -> None:
    run = load(Run, TINY, [f"out={tmp_path}", "model.geometry={type: lorentz}"])
    with pytest.raises(ConfigError, match=r"objectives\.contrast: 'infonce' compares by dot products.*entailment"):
        check(run)


def test_an_objective_that_asks_the_geometry_is_fine(tmp_path: Path) -> None:
    objective = "objectives={contrast: {type: geometry_contrast, group: group}}"
    check(load(Run, TINY, [f"out={tmp_path}", "model.geometry={type: gaussian}", objective]))


def test_cones_need_a_curved_space(tmp_path: Path) -> None:
    run = load(Run, TINY, [f"out={tmp_path}", "objectives={contrast: {type: entailment}}"])
    with pytest.raises(ConfigError, match="has no curvature"):
        check(run)


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        ("{type: cpc, column: audio, layout: patches}", r"objectives\.extra: cpc: .* no square grid"),
        ("{type: captioning, vocabulary: 100}", None),
    ],
)
def test_tokens_that_an_objective_cannot_take_are_named_before_training(
    objective: str, words: str | None, tmp_path: Path
) -> None:
    run = load(Run, TINY, [f"out={tmp_path}", f"objectives.extra={objective}", "model.towers.audio.seconds=3.0"])
    if words is None:
        check(run)
    else:
        with pytest.raises(ConfigError, match=words):
            check(run)


def test_a_normal_needs_an_even_width(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dim 31 must be even"):
        load(Run, TINY, [f"out={tmp_path}", "model.dim=31", "model.geometry={type: gaussian}"])
