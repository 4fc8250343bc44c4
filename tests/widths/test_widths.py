"""Shorter embeddings: each code by its definition, its index by its scores, and the command on a trained run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmcontrast.cli import main
from mmcontrast.widths.codes import Binary, Code, Int8, Sparse, Truncated, principal_axes
from mmcontrast.widths.measure import recall
from mmcontrast.widths.sparse import fit_sparse

DIM = 16


def points(count: int, seed: int) -> Tensor:
    return normalize(torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.fixture(scope="module")
def codes() -> list[Code]:
    text = points(64, 2)
    learned = fit_sparse(text, normalize(text + 0.1 * points(64, 3), dim=1), active=4, steps=20)
    return [Truncated(8), Truncated(8, principal_axes(text), "pca"), Int8(16), Int8(8), Binary(16), Sparse(4, learned)]


def test_each_index_answers_as_the_scores_say(codes: list[Code]) -> None:
    pytest.importorskip("faiss")
    rows, queries = points(50, 0), points(5, 1)
    for code in codes:
        search, scores = code.index(rows, 2), code.scores(queries, rows)
        for number, asked in enumerate(code.asked(queries)):
            found = search(asked[None])
            places = np.asarray(found if code.name == "sparse" else found[1]).reshape(-1) % 50
            assert len(places) == 10 and int(scores[number].argmax()) in (
                places if code.name in ("sparse", "binary") else places[:2]
            )


def test_codes_by_their_definitions(codes: list[Code]) -> None:
    rows, queries = points(20, 0), points(4, 1)
    kept = [[float(v) for v in row[:8]] for row in rows]
    for query, found in zip(queries, Truncated(8).scores(queries, rows), strict=True):
        short = [float(v) for v in query[:8]]
        expected = [
            sum(a * b for a, b in zip(short, row, strict=True))
            / sum(a * a for a in short) ** 0.5 / sum(b * b for b in row) ** 0.5
            for row in kept
        ]  # fmt: skip
        assert found.tolist() == pytest.approx(expected, abs=1e-5)
    bits = [rows > rows.mean(dim=0), queries > queries.mean(dim=0)]
    different = (bits[1][:, None] != bits[0][None]).sum(dim=2)
    assert torch.equal(Binary(DIM).scores(queries, rows), (DIM - 2 * different).float())
    step = (rows.max(dim=0).values - rows.min(dim=0).values) / 255
    assert ((Int8(DIM).rounded(rows) - rows).abs() <= 0.51 * step + 1e-6).all()
    (sparse,) = [code for code in codes if isinstance(code, Sparse)]
    assert (sparse.coded(rows) > 0).sum(dim=1).max() <= 4
    assert [code.bytes for code in codes] == [32, 32, 16, 8, 2, 24]


def test_principal_axes_keep_the_most() -> None:
    rows = points(60, 0) * torch.linspace(3, 0.1, DIM)
    axes = principal_axes(rows)
    assert torch.allclose(axes.T @ axes, torch.eye(DIM), atol=1e-5)
    kept = (rows @ axes).square().sum(dim=0)
    values = torch.linalg.eigvalsh(rows.T @ rows).flip(dims=(0,))
    assert torch.allclose(kept, values, rtol=1e-3)


def test_equally_good_rows_share_the_hit() -> None:
    scores = torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    right = torch.tensor([[True, False, False], [False, False, True]])
    assert recall(scores, right) == 0.25


def test_the_command_writes_a_table_and_a_page(
    trained: Path, sets: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("faiss")
    command = ["widths", sets["pictures"], "--model", str(trained), "--corpus-rows", "64"]
    assert main([*command, "--widths", "8,4", "--out", str(tmp_path / "out")]) == 0
    assert "code  size  bytes" in capsys.readouterr().out
    tree = json.loads((tmp_path / "out" / "widths.json").read_text(encoding="utf-8"))
    assert [(line["name"], line["size"]) for line in tree["lines"]] == [
        ("fp32", 8), ("fp32", 4), ("int8", 8), ("int8", 4), ("binary", 8),
    ]  # fmt: skip
    assert all(0 <= line["recall"] <= 1 and line["queries_per_second"] > 0 for line in tree["lines"])
    assert "R@1 by log2 of the bytes" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for flags, says in (
        (["--widths", "9"], "--widths: 9 is not between 1 and 8"),
        (["--widths", "a"], "--widths: 'a' is no count"),
        (["--sparse", "2"], "name rows to learn from with --fit"),
        (["--corpus-rows", "0"], "--corpus-rows: 0 is no count"),
    ):
        assert main([*command, *flags]) == 2
        assert says in capsys.readouterr().err
