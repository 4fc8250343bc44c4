"""Two ranks give the loss and the gradients of one process, for every objective."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmcontrast import comm
from mmcontrast.steps.gradcache import GradCache
from mmcontrast.types import Batch, Column
from tests import tiny
from tests.contracts.objective_examples import OBJECTIVE_EXAMPLES
from tests.dist.pool import on_ranks

ROWS = 12


def lopsided(rows: int = ROWS) -> Batch:
    """A batch whose second half holds no sound at all: one of two ranks then never sees audio."""
    batch = tiny.batch(rows)
    audio = batch.columns["audio"]
    present = audio.present & (torch.arange(rows) < rows // 2)
    values = audio.values[: int(present.sum())]
    return Batch({**batch.columns, "audio": Column("audio", values, present)}, batch.labels, batch.keys)


def part_of(batch: Batch) -> Batch:
    """This rank's rows."""
    mine = len(batch) // comm.world_size()
    return batch.rows(slice(comm.rank() * mine, (comm.rank() + 1) * mine))


def share(name: str, chunk_rows: int | None) -> dict[str, Any]:
    """This rank's loss and gradients for its share of the rows, after an update that filled queues and the like."""
    built = tiny.model(name).eval()
    built("loss", built("embed", part_of(tiny.batch(ROWS, seed=1))))
    built.after_step()
    batch = part_of(lopsided())
    if chunk_rows is None:
        loss = built("loss", built("embed", batch)).loss
        loss.backward()
    else:
        loss = GradCache(GradCache.Config(chunk_rows=chunk_rows), engine=tiny.engine(built))(batch).loss
    built.after_step()
    state = {key: value for key, value in built.state_dict().items() if not key.startswith(("towers.", "heads."))}
    return {"loss": loss.detach(), "gradients": tiny.gradients(built), "state": state}


def all_shares(names: list[str], chunks: list[int | None]) -> dict[str, dict[str, Any]]:
    """This rank's shares of every objective and chunking: one start of processes for all of them."""
    return {
        f"{name}/{chunk_rows}": share(name, chunk_rows)
        for name in names
        for chunk_rows in chunks
    }


CHUNKS = [None, 2]


@pytest.fixture(scope="module")
def on_two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Any]]]:
    return on_ranks(all_shares, 2, tmp_path_factory.mktemp("two"), list(OBJECTIVE_EXAMPLES), CHUNKS)


@pytest.fixture(scope="module")
def on_four_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Any]]]:
    return on_ranks(all_shares, 4, tmp_path_factory.mktemp("four"), list(OBJECTIVE_EXAMPLES), CHUNKS)


@pytest.mark.parametrize("ranks", ["on_two_ranks", pytest.param("on_four_ranks", marks=pytest.mark.slow)])
@pytest.mark.parametrize("chunk_rows", CHUNKS)
@pytest.mark.parametrize("name", OBJECTIVE_EXAMPLES)
def test_ranks_agree_with_one_process(
    name: str, chunk_rows: int | None, ranks: str, request: pytest.FixtureRequest
) -> None:
    parts = [part[f"{name}/{chunk_rows}"] for part in request.getfixturevalue(ranks)]
    whole = share(name, None)
    # The contract: the mean over ranks is the loss of the global batch, and so for gradients.
    loss = torch.stack([part["loss"] for part in parts]).mean()
    torch.testing.assert_close(loss, whole["loss"], atol=1e-6, rtol=1e-6)
    keys = whole["gradients"]
    means = tiny.by_part({key: torch.stack([part["gradients"][key] for part in parts]).mean(dim=0) for key in keys})
    for part, value in tiny.by_part(whole["gradients"]).items():
        # Float32, sums in another order: their rounding is relative to the largest numbers that flow through a part.
        assert float((means[part] - value).abs().max()) <= 1e-5 * float(value.abs().max()) + 1e-8, part
    for key, value in whole["state"].items():
        for part in parts:  # every rank holds the state of one process
            torch.testing.assert_close(part["state"][key], value, atol=1e-5, rtol=1e-5, msg=key)
