"""Tiles: the same numbers as one matrix, in pieces."""

from __future__ import annotations

import pytest
import torch

from mmcontrast.objectives import OBJECTIVES, pairwise
from mmcontrast.objectives.pairwise import PairConfig
from tests.contracts.objective_examples import OBJECTIVE_EXAMPLES
from tests.objectives.made_up import GROUP, made_up

COLUMNS = ("image", "text", "image.view2", "text.view2", "text.swapped", "image.mined")


@pytest.mark.parametrize("name", ["debiased:hard", "negclip", "supcon:balanced", "cyclip", "alignment_uniformity"])
def test_tiles_give_the_loss_and_gradients_of_one_matrix(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = OBJECTIVES.build(OBJECTIVE_EXAMPLES[name])
    results = []
    for cells in (2**22, 40):
        monkeypatch.setattr(pairwise, "TILE_CELLS", cells)
        monkeypatch.setattr("mmcontrast.objectives.cyclip.TILE_CELLS", cells)
        emb = made_up(*COLUMNS, seed=1, absent=0.3, group=GROUP)
        loss = objective(emb).loss
        leaves = [column.z for column in emb.columns.values()]
        parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        grads = torch.autograd.grad(loss, [*leaves, *parameters], allow_unused=True)
        results.append([loss.detach(), *[grad for grad in grads if grad is not None]])
    assert len(results[0]) == len(results[1])
    for whole, tiled in zip(*results, strict=True):
        torch.testing.assert_close(tiled, whole, atol=1e-6, rtol=1e-5)


def test_a_column_paired_with_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="stands with itself"):
        PairConfig(pair=("text", "text"))
