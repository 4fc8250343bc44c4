"""Configs: what is read, what is refused and how it is said, and the way back to YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest

from mmcontrast.config import OneOf, Positive, apply_overrides, config, dump, load, parse, parse_yaml, read_tree
from mmcontrast.errors import ConfigError
from mmcontrast.registry import Registry

SHAPES = Registry("shape", "tests.test_config_components")


@SHAPES.register("square", "box")
class Square:
    """A shape."""

    @config
    class Config:
        side: Positive = 1.0
        tags: tuple[str, ...] = ()

    def __init__(self, config: Any) -> None:
        self.config = config


@SHAPES.register("round")
class Round:
    """Another shape."""

    @config
    class Config:
        radius: Positive

    def __init__(self, config: Any) -> None:
        self.config = config


@config
class Inner:
    rate: float = 1e-3
    on: bool = False


@config
class Tree:
    name: str
    inner: Inner = Inner()
    shapes: dict[str, Annotated[Any, OneOf(SHAPES)]] = {}
    folder: Path | None = None
    pairs: tuple[tuple[str, str], ...] = ()


SHAPES._discovered = True  # the package named above does not exist: both classes stand here


def test_yaml_scalars_are_those_of_yaml_1_2() -> None:
    tree = parse_yaml("a: 5e-4\nb: no\nc: 1.\nd: true\ne: 12\nf: on\ng: -2.5E+3\nh: 1e5", where="here")
    assert tree == {"a": 5e-4, "b": "no", "c": 1.0, "d": True, "e": 12, "f": "on", "g": -2500.0, "h": 1e5}


def test_every_problem_is_reported_at_once_with_its_path() -> None:
    tree = {
        "inner": {"rate": "fast", "onn": True},
        "shapes": {"a": {"type": "sqare"}, "b": {"type": "square", "side": -1}, "c": {"type": "round"}},
        "pairs": [["a"]],
        "nmae": "x",
    }
    with pytest.raises(ConfigError) as caught:
        parse(Tree, tree)
    text = str(caught.value)
    for part in (
        "inner.rate: expected a number, got 'fast'",
        "inner.onn: no such key. Did you mean 'on'?",
        "no shape is named 'sqare'. Did you mean 'square'?",
        "shapes.b.side: expected greater than 0, got -1",
        "shapes.c.radius: required, but missing",
        "pairs",
        "nmae: no such key. Did you mean 'name'?",
        "name: required, but missing",
    ):
        assert part in text, text
    assert text.startswith("config: 8 problems")


@pytest.mark.parametrize("value", ["1", True, None, [1]])
def test_a_number_is_a_number(value: object) -> None:
    with pytest.raises(ConfigError, match=r"inner\.rate"):
        parse(Tree, {"name": "x", "inner": {"rate": value}})


def test_extends_merges_maps_replaces_lists_and_null_removes(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "name: base\npairs: [[a, b], [c, d]]\ninner: {rate: 0.5, on: true}\n"
        "shapes:\n  s: {type: square, side: 2.0}\n  r: {type: round, radius: 3.0}\n"
    )
    (tmp_path / "over.yaml").write_text("extends: base.yaml\nname: over\npairs: [[e, f]]\nshapes: {r: null}\n")
    tree = load(Tree, tmp_path / "over.yaml", ["inner.rate=0.25", "shapes.s.side=4"])
    assert tree.name == "over" and tree.pairs == (("e", "f"),)
    assert tree.inner == Inner(rate=0.25, on=True)
    assert list(tree.shapes) == ["s"] and tree.shapes["s"].side == 4.0


def test_another_component_type_replaces_the_old_fields() -> None:
    tree = apply_overrides({"shapes": {"s": {"type": "square", "side": 2}}}, ["shapes.s={type: round, radius: 1}"])
    assert tree["shapes"]["s"] == {"type": "round", "radius": 1}


def test_dump_reads_back_to_an_equal_config(tmp_path: Path) -> None:
    tree = parse(
        Tree,
        {"name": "no", "inner": {"rate": 1e-10}, "shapes": {"a": "box"}, "folder": "x/y", "pairs": [["a", "b"]]},
    )
    (tmp_path / "dumped.yaml").write_text(dump(tree))
    assert load(Tree, tmp_path / "dumped.yaml") == tree


def test_missing_files_broken_yaml_and_loops_are_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "quick.yaml").write_text("extends: quick.yaml\n")
    with pytest.raises(ConfigError, match="extends itself"):
        read_tree(tmp_path / "quick.yaml")
    with pytest.raises(ConfigError, match="Did you mean 'quick.yaml'"):
        read_tree(tmp_path / "quikc.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_tree(tmp_path / "broken.yaml")
    with pytest.raises(ConfigError, match="is not an override"):
        apply_overrides({}, ["lr:3"])
