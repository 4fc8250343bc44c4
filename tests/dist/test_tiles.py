"""Losses in tiles on several ranks, keys passed round a ring, against one process with one matrix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from mmcontrast import comm
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.infonce import InfoNCE
from mmcontrast.objectives.siglip import SigLIP
from mmcontrast.tiles.tiling import TilesConfig
from mmcontrast.types import Embedded, Embeddings
from tests.dist.pool import on_ranks

ROWS = 20
WHOLE = TilesConfig(from_rows=ROWS + 1)
TILED = TilesConfig(from_rows=0, rows=2, columns=3)
PAIRS = (("image", "text"), ("audio", "text"))
EXAMPLES: dict[str, Any] = {
    "infonce": InfoNCE.Config(pairs=PAIRS, group="group"),
    "smoothed": InfoNCE.Config(pairs=PAIRS, group="group", label_smoothing=0.1),
    # A scale beyond what one shift can hold: the running maximum takes over, on every rank at once.
    "cold": InfoNCE.Config(temperature=0.01, learn_temperature=False),
    "siglip": SigLIP.Config(group="group"),
}


def share(name: str, tiling: TilesConfig, stretch: float) -> list[torch.Tensor]:
    """This rank's loss, then its gradients: at the embeddings of all rows (zeros elsewhere) and at the parameters."""
    generator = torch.Generator().manual_seed(0)
    mine = slice(comm.rank() * ROWS // comm.world_size(), (comm.rank() + 1) * ROWS // comm.world_size())
    leaves, columns = [], {}
    for place, column in enumerate(("audio", "image", "text")):
        present = torch.rand(ROWS, generator=generator) < 0.7
        if column == "audio":
            present[ROWS // 2 :] = False  # one of two ranks never sees a sound
        z = stretch * normalize(torch.randn(ROWS, 6, generator=generator), dim=1) * present[:, None]
        leaves.append(z.requires_grad_())
        columns[column] = Embedded(leaves[place][mine], present[mine])
    labels = {"group": torch.randint(-1, 5, (ROWS,), generator=generator)[mine]}
    objective = OBJECTIVES.build(replace(EXAMPLES[name], tiles=tiling))
    loss = objective(Embeddings(columns, labels, [""] * len(labels["group"]))).loss
    loss.backward()
    gradients = [leaf.grad for leaf in (*leaves, *objective.parameters())]
    return [loss.detach(), *(torch.zeros(1) if gradient is None else gradient for gradient in gradients)]


CASES = [*((name, 1.0) for name in EXAMPLES), ("cold", 4.0)]


def all_shares() -> dict[str, list[torch.Tensor]]:
    """This rank's shares of every case: one start of processes for all of them."""
    return {f"{name}/{stretch}": share(name, TILED, stretch) for name, stretch in CASES}


@pytest.fixture(scope="module")
def on_one_rank() -> list[dict[str, list[torch.Tensor]]]:
    return [all_shares()]


@pytest.fixture(scope="module")
def on_two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[torch.Tensor]]]:
    return on_ranks(all_shares, 2, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def on_four_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[torch.Tensor]]]:
    return on_ranks(all_shares, 4, tmp_path_factory.mktemp("four"))


@pytest.mark.parametrize(
    "ranks", ["on_one_rank", "on_two_ranks", pytest.param("on_four_ranks", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("name", "stretch"), CASES)
def test_tiles_on_ranks_agree_with_the_whole_matrix(
    name: str, stretch: float, ranks: str, request: pytest.FixtureRequest
) -> None:
    parts = [rank[f"{name}/{stretch}"] for rank in request.getfixturevalue(ranks)]
    for place, value in enumerate(share(name, WHOLE, stretch)):
        mean = torch.stack([part[place] for part in parts]).mean(dim=0)
        # float32, sums in another order; relative to the largest entry
        largest = max(float(value.abs().max()), 1.0)
        torch.testing.assert_close(mean, value, atol=2e-6 * largest, rtol=1e-5, msg=f"{name} {place}")
