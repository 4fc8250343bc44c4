"""Codes of a run: what the objective makes of the towers' embeddings, from the run's folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmcontrast.errors import NeedsError
from mmcontrast.evaluate.encoder import TowerEncoder, load_encoder
from mmcontrast.evaluate.sparse import SparseEncoder, load_sparse_encoder
from mmcontrast.objectives.sparse_codes import SparseCodes
from mmcontrast.train import train
from tests import tiny
from tests.small_run import run_of

WORDS = ["a violin", "grinning face", "a drum"]


def test_codes_stand_in_the_place_of_embeddings() -> None:
    model = tiny.model("sparse_codes").eval()
    objective = model.objectives["main"]
    assert isinstance(objective, SparseCodes)
    dense, sparse = TowerEncoder(model), SparseEncoder(model, objective)
    codes = sparse.encode("text", WORDS)
    assert codes.shape == (3, 16) and int((codes != 0).sum(dim=1).max()) <= 2
    torch.testing.assert_close(codes, objective.codes(dense.encode("text", WORDS)).detach(), atol=1e-6, rtol=1e-6)
    assert sparse.identity != dense.identity
    assert sparse.encode("text", []).shape == (0, 16)


@pytest.mark.slow
def test_a_run_is_loaded_with_its_codes(sets: dict[str, str], tmp_path: Path) -> None:
    contrast = {"type": "infonce", "pairs": [["image", "text"], ["audio", "text"]]}
    codes = {"type": "sparse_codes", "columns": ["text"], "latents": 24, "active": 3}
    train(run_of(sets, tmp_path / "with", objectives={"main": contrast, "codes": codes}))
    found = load_sparse_encoder(tmp_path / "with")
    z = load_encoder(tmp_path / "with").encode("text", WORDS)
    torch.testing.assert_close(found.encode("text", WORDS), found.objective.codes(z).detach(), atol=1e-6, rtol=1e-6)
    assert float(found.objective.autoencoder.center.detach().abs().max()) > 0  # it was trained
    train(run_of(sets, tmp_path / "without"))
    with pytest.raises(NeedsError, match="has 0 objectives 'sparse_codes'"):
        load_sparse_encoder(tmp_path / "without")
