"""Ranks x workers x interruptions under every policy: one sequence of batches, one log, and no row unaccounted for."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mmcontrast.config import parse
from mmcontrast.data.accounting import Account, accounts
from mmcontrast.data.loader import DataConfig, Loader
from mmcontrast.data.quarantine import BadRow
from tests.data.damage import overwrite
from tests.data.test_loader import SPECS
from tests.fixtures import make_set

PAIR = {name: SPECS[name] for name in ("image", "text")}
STEPS = 14
GRID = tuple(itertools.product((1, 2, 4), (0, 1, 3), (False, True)))
POLICIES: dict[str, dict[str, Any]] = {
    "rows of all sources in a batch": {},
    "a source a batch": {"draw": "per_step"},
    "lanes": {"block_rows": 12, "lanes": 2},
    "like lengths": {"draw": "per_step", "bucket_batches": 3},
    "like lengths in lanes": {"draw": "per_step", "bucket_batches": 3, "block_rows": 12, "lanes": 2},
    "a source that drops out": {"sources.words": {"when_dry": "drop"}},
    "a source that ends the run": {"sources.pictures": {"when_dry": "stop", "epochs": 1.5}},
    "stages and temperature": {"temperature": 2.0, "stages": {"late": {"from_step": 6, "weights": {"words": 4.0}}}},
    "a shard that is gone": {"storage": {"on_shard_error": "substitute", "retries": 0}},
    "decoded rows kept": {"cache_decoded": True},
}


@dataclass
class History:
    """What came of a run."""

    batches: list[str] = field(default_factory=list)  # digests of global batches
    bad: list[BadRow] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)


def config_of(folder: Path, policy: dict[str, Any]) -> DataConfig:
    pictures = make_set(folder / "pictures", columns=("image", "text"), rows=37)
    overwrite(pictures, (3, 4, 25, 36), "png")
    words = make_set(folder / "words", columns=("text",), rows=19)
    sources: dict[str, Any] = {"pictures": {"manifest": pictures, "weight": 3.0}, "words": {"manifest": words}}
    fields = dict(policy)
    for name in sources:
        sources[name] |= fields.pop(f"sources.{name}", {})
    config = parse(DataConfig, {"sources": sources, "batch_rows": 12, **fields})
    if config.storage.on_shard_error == "substitute":
        Loader(config, seed=3, specs=PAIR)  # opens the set, once a process
        (folder / "pictures/pictures-000001.tar").unlink()
    return config


def history(config: DataConfig, *, world_size: int, workers: int, stops: tuple[int, ...]) -> History:
    """Run to the end, each time from the batch where the last run was interrupted."""
    found, counts = History(), Counter[str]()
    config = DataConfig(**{**vars(config), "workers": workers})
    line = Loader(config, seed=3, specs=PAIR)
    end = min(STEPS, line.end or STEPS)
    for first, last in itertools.pairwise((0, *(stop for stop in stops if stop < end), end)):
        ranks = [Loader(config, seed=3, specs=PAIR, rank=rank, world_size=world_size) for rank in range(world_size)]
        for rank in ranks:
            rank.seek(first, last=last)
        for _ in range(first, last):
            loaded = [next(rank) for rank in ranks]
            found.batches.append(
                hashlib.sha256(repr([row for each in loaded for row in contents(each.batch)]).encode()).hexdigest()
            )
            found.bad += [row for each in loaded for row in each.bad]
        for rank in ranks:
            counts.update(rank.counts())
    found.accounts = accounts(line._steps.mixture, counts, batch=end)
    return found


def contents(batch: Any) -> list[tuple[str, bytes]]:
    rows = [batch.rows(slice(index, index + 1)) for index in range(len(batch))]
    # Ids are padded to this rank's longest caption: zeros at the end are no part of the content.
    return [
        (
            row.keys[0],
            b"|".join(
                name.encode() + column.values.numpy().tobytes().rstrip(b"\0")
                for name, column in sorted(row.columns.items())
            ),
        )
        for row in rows
    ]


@pytest.mark.parametrize("name", POLICIES)
def test_every_row_of_every_epoch_is_delivered_quarantined_or_not_reached(name: str, tmp_path: Path) -> None:
    config = config_of(tmp_path, POLICIES[name])
    found = history(config, world_size=1, workers=0, stops=())
    drawn = 0
    for account in found.accounts:
        assert account.missing == 0 and account.rows == {"pictures": 37, "words": 19}[account.source]
        assert account.delivered + sum(account.quarantined.values()) + account.tail == account.rows * account.epochs
        drawn += account.delivered + sum(account.quarantined.values())
    assert drawn == 12 * len(found.batches)
    assert sum(sum(account.quarantined.values()) for account in found.accounts) == sum(
        row.attempt == 0 for row in found.bad
    )
    assert len(found.bad) >= 4 and len(set(found.batches)) == len(found.batches)
    assert history(config, world_size=2, workers=0, stops=(5,)) == found


@pytest.mark.slow
@pytest.mark.parametrize("name", POLICIES)
def test_all_of_the_grid_has_one_history(name: str, tmp_path: Path) -> None:
    config = config_of(tmp_path, POLICIES[name])
    whole = history(config, world_size=1, workers=0, stops=())
    rng = random.Random(name)
    for world_size, workers, interrupted in GRID:
        stops = tuple(sorted(rng.sample(range(1, STEPS), rng.randint(1, 4)))) if interrupted else ()
        found = history(config, world_size=world_size, workers=workers, stops=stops)
        assert found == whole, (world_size, workers, stops)
