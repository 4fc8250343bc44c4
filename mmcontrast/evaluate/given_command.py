"""``mmcontrast eval from-embeddings`` and ``from-scores``: the evaluators on what another program computed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcontrast.errors import ConfigError, MetricError

if TYPE_CHECKING:
    from mmcontrast.evaluate.given import Table
    from mmcontrast.evaluate.given_bench import GivenBench
    from mmcontrast.evaluate.suite import Suite
    from mmcontrast.geometry.base import Geometry

SCORED = ("hierarchical", "multi_label", "order", "retrieval", "zero_shot")  # need no more than scores
TEST, TRAIN = "given", "train"  # names of the sets, as evaluators' sources


def add_given_commands(commands: Any) -> None:
    """Add ``from-embeddings`` and ``from-scores``."""
    add = commands.add_parser("from-embeddings", help="evaluate embeddings of any program: safetensors, npy, parquet")
    add.add_argument("files", nargs="+", metavar="[MODALITY=]FILE", help="embeddings of pictures, sounds and texts")
    add.add_argument("--train", nargs="+", default=[], metavar="[MODALITY=]FILE", help="rows that probes learn from")
    add.add_argument("--geometry", default="sphere", help="where the embeddings live; default: the unit sphere")
    _common(add)
    add.set_defaults(call=_from_embeddings)
    add = commands.add_parser("from-scores", help="evaluate a matrix of scores, rows x columns, of any program")
    add.add_argument("file", metavar="FILE", help="the matrix; fields of its columns in FILE.columns.jsonl or .csv")
    add.add_argument("--rows", default="image", choices=("image", "audio"), help="what the rows are")
    add.add_argument("--columns", default="text", choices=("text", "image", "audio"), help="what the columns are")
    _common(add)
    add.set_defaults(call=_from_scores)


def _common(add: argparse.ArgumentParser) -> None:
    add.add_argument(
        "--evaluator", nargs="+", action="append", required=True, metavar="TYPE [key=value ...]",
        help="an evaluator and its fields, as in: retrieval query=text target=image; may be given several times",
    )  # fmt: skip
    add.add_argument("--name", help="what the result is of; default: the first file's name")
    add.add_argument("--out", type=Path, help="folder of the results; default: NAME-eval beside the first file")


def _from_embeddings(parsed: argparse.Namespace) -> int:
    from mmcontrast.evaluate.given import read_tables
    from mmcontrast.geometry import GEOMETRIES

    geometry = GEOMETRIES.get(parsed.geometry)
    test = [table for place in parsed.files for table in read_tables(place)]
    train = [table for place in parsed.train for table in read_tables(place)]
    bench = bench_of(test, train, geometry=geometry(geometry.Config()))
    suite = suite_of(parsed.evaluator, bench, has_train=bool(train))
    return _evaluate(parsed, test[0].path, bench, suite)


def _from_scores(parsed: argparse.Namespace) -> int:
    from mmcontrast.evaluate.given import SCORES, read_tables

    tables = read_tables(f"{SCORES}={parsed.file}", names=(SCORES,))
    bench = bench_of_scores(tables[0], rows=parsed.rows, columns=parsed.columns)
    suite = suite_of(parsed.evaluator, bench, has_train=False)
    for evaluator in suite.evals.values():
        if evaluator.registry_name not in SCORED:
            raise ConfigError(
                f"'{evaluator.registry_name}' needs embeddings, not scores. From scores: {', '.join(SCORED)}."
            )
    return _evaluate(parsed, tables[0].path, bench, suite)


def bench_of(test: Sequence[Table], train: Sequence[Table], *, geometry: Geometry) -> GivenBench:
    """The evaluators' bench of embeddings.

    Raises:
        ConfigError, MetricError: no media, a modality twice, or widths that differ.
    """
    from mmcontrast.evaluate.given_bench import GivenBench, GivenSet, Texts, classes_among, with_captions

    widths = {f"{table.path}, {table.name}": table.values.shape[1] for table in (*test, *train)}
    if len(set(widths.values())) > 1:
        listing = "; ".join(f"{where}: {width}" for where, width in widths.items())
        raise MetricError(f"embeddings of one space have one width, but {listing}.")
    test, train = [_placed(table, geometry) for table in test], [_placed(table, geometry) for table in train]
    media, texts = [table for table in test if table.name != "text"], [table for table in test if table.name == "text"]
    for name, part in (("", media), (" of texts", texts), (" to learn from", train)):
        modalities = [table.name for table in part]
        twice = next((each for each in modalities if modalities.count(each) > 1), None)
        if twice is not None:
            raise ConfigError(f"two arrays{name} are of '{twice}': give each modality once.")
    if not media:
        raise ConfigError("no embeddings of pictures or sounds were given.")
    learned = [table for table in train if table.name != "text"]
    words = Texts.of(texts[0]) if texts else None
    captioned = with_captions(media, texts[0]) if texts else media
    classes = classes_among(texts[0]) if texts and captioned is media else ()
    sets = {TEST: GivenSet.of(TEST, captioned, classes=classes)}
    if learned:
        sets[TRAIN] = GivenSet.of(TRAIN, learned, classes=classes)
    return GivenBench(sets, words, geometry=geometry)


def bench_of_scores(table: Table, *, rows: str, columns: str) -> GivenBench:
    """The evaluators' bench of a matrix of scores.

    Raises:
        ConfigError, MetricError: fields that do not fit the matrix.
    """
    from mmcontrast.evaluate.given import OF_COLUMNS, Table, read_fields
    from mmcontrast.evaluate.given_bench import GivenBench, GivenSet, Lookup, Texts, classes_among, with_captions

    size, width = table.values.shape
    beside = read_fields(table.path, suffix=".columns")
    if len(beside) not in (0, width):
        raise MetricError(f"'{table.path}' has {width:,} columns, but {len(beside):,} lines describe them.")
    of_columns = beside or [{}] * width
    if size == width:  # numbers in the matrix's own file
        of_columns = [
            {**{name: row[name] for name in OF_COLUMNS if name in row}, **own}
            for row, own in zip(table.fields, of_columns, strict=True)
        ]
    row_fields = [{key: value for key, value in row.items() if key not in OF_COLUMNS} for row in table.fields]
    geometry = Lookup(table.values)
    media = [Table(rows, geometry.points(0, size), row_fields, table.path)]
    other = Table(columns, geometry.points(1, width), of_columns, table.path)
    if columns == rows:
        raise ConfigError(f"rows and columns are both of '{rows}'; the evaluators compare two modalities.")
    if columns != "text":
        return GivenBench({TEST: GivenSet.of(TEST, [*media, other])}, None, geometry=geometry)
    words, captioned = Texts.of(other), with_captions(media, other)
    classes = classes_among(other) if captioned is media else ()
    return GivenBench({TEST: GivenSet.of(TEST, captioned, classes=classes)}, words, geometry=geometry)


def _placed(table: Table, geometry: Geometry) -> Table:
    """Embeddings on the space; those of length 1 are on the sphere, and stay as they are."""
    lengths = table.values.norm(dim=1)
    if (lengths == 0).any():
        row = int((lengths == 0).nonzero()[0])
        raise MetricError(f"'{table.path}', {table.name}: row {row} (counted from 0) is all zeros, which is no point.")
    if (lengths - 1).abs().max() < 1e-5:
        return table
    return replace(table, values=geometry.project(table.values))


def suite_of(asked: Sequence[Sequence[str]], bench: GivenBench, *, has_train: bool) -> Suite:
    """The suite that ``--evaluator`` describes.

    Raises:
        ConfigError: an unknown evaluator or field.
    """
    from mmcontrast.config import apply_overrides, parse
    from mmcontrast.evaluate import EVALUATORS
    from mmcontrast.evaluate.suite import Suite

    media = [each for each in bench.encoders["trained"].modalities if each != "text"]
    evals: dict[str, Any] = {}
    for kind, *overrides in asked:
        known = {field.name for field in fields(EVALUATORS.get(kind).Config)}
        tree: dict[str, Any] = {"type": kind, "source": TEST}
        folds = any(each.startswith("fold=") for each in overrides)  # official folds of the rows themselves
        if "train_source" in known and has_train and not folds:
            tree["train_source"] = TRAIN
        if "modality" in known and len(media) == 1:
            tree["modality"] = media[0]
        label = kind if kind not in evals else f"{kind}_{1 + sum(name.startswith(kind) for name in evals)}"
        evals[label] = apply_overrides(tree, overrides)
    return parse(Suite, {"evals": evals}, where="--evaluator")


def _evaluate(parsed: argparse.Namespace, first: Path, bench: GivenBench, suite: Suite) -> int:
    from mmcontrast.evaluate.command import finished
    from mmcontrast.evaluate.suite import run_on

    name = parsed.name or first.stem
    kind = "given scores" if parsed.call is _from_scores else "given embeddings"
    result = run_on(kind.replace(" ", "-"), suite, bench, about={"run": name})
    _, partial = finished(result, parsed.out or first.with_name(f"{name}-eval"))
    assert not partial, "what is missing in given files is refused while they are read"
    return 0
