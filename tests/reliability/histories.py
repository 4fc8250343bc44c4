"""Histories of a run that is killed and goes on with other ranks and workers: its rows never change.

Simulated ones take the order of rows, as ranks and their loading processes do, without reading any; real ones are
training runs whose ranks are killed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmcontrast.data.mixture import Mixture, Share
from mmcontrast.data.order import LineOrder
from mmcontrast.run import Run
from tests.fixtures import make_set
from tests.reliability.ranks import Done, Start, done, in_words, run_ranks
from tests.small_run import run_of, tree

WORLD_SIZES = (1, 2, 4, 8)
BATCH_ROWS = 16
STEPS, EVERY = 24, 4  # of a simulated run, and between its checkpoints
Rows = list[tuple[str, int, int]]  # of one batch: source, epoch, row


@dataclass(frozen=True)
class Part:
    """What a run does between two starts."""

    world_size: int
    workers: int  # loading processes a rank; 0 loads in the rank
    first: int  # number of its first batch
    stop: int  # number of the batch before which it is killed, or the end


def history(
    draw: random.Random, *, steps: int, every: int, world_sizes: tuple[int, ...], most_workers: int, most_kills: int
) -> list[Part]:
    """Draw up to ``most_kills`` kills, each followed by other ranks and workers; the last part reaches the end."""
    parts: list[Part] = []
    first = 0
    for _ in range(draw.randint(1, most_kills)):
        stop = draw.randint(first + 1, steps - 1)
        parts.append(Part(draw.choice(world_sizes), draw.randint(0, most_workers), first, stop))
        first = min(stop // every * every, steps - 2)  # the newest checkpoint: what followed it is done again
    return [*parts, Part(draw.choice(world_sizes), draw.randint(0, most_workers), first, steps)]


def mixtures() -> list[Callable[[], Mixture]]:
    """Makers of mixtures: sources shuffled whole or in lanes, mixed in each batch or not."""

    def maker(draw: Any, block_rows: int, lanes: int) -> Callable[[], Mixture]:
        def make() -> Mixture:
            def order(name: str, shards: list[int]) -> LineOrder:
                return LineOrder(shards, seed=3, name=name, block_rows=block_rows, lanes=lanes)

            shares = {
                "large": Share(order=order("large", [20, 0, 33, 7, 41]), weight=3),
                "small": Share(order=order("small", [11, 6]), weight=1),
            }
            return Mixture(shares, batch_rows=BATCH_ROWS, draw=draw, seed=3)

        return make

    return [maker("per_row", 10, 3), maker("per_row", 1000, 8), maker("per_step", 12, 8)]


def loaded(make: Callable[[], Mixture], part: Part) -> Iterator[tuple[int, Rows]]:
    """The global batches of one part: every process of every rank has a mixture of its own.

    As torch's DataLoader deals them out, a rank's n-th batch is made by its process n mod workers.
    """
    processes = max(1, part.workers)
    ranks = [[make() for _ in range(processes)] for _ in range(part.world_size)]
    for step in range(part.first, part.stop):
        rows: Rows = []
        for rank, workers in enumerate(ranks):
            mixture = workers[(step - part.first) % processes]
            draws = mixture.batch(step).share(rank=rank, world_size=part.world_size)
            for source, position in zip(draws.source.tolist(), draws.position.tolist(), strict=True):
                name = draws.names[source]
                rows.append((name, *mixture.shares[name].order.locate_one(position)))
        yield step, rows


def simulated(count: int, *, seed: int = 0) -> int:
    """So many random histories; return how many did not give the rows of a run that nobody interrupts."""
    wrong, draw, makers = 0, random.Random(seed), mixtures()
    wholes = [dict(loaded(make, Part(1, 0, 0, STEPS))) for make in makers]
    for number in range(count):
        make, whole = makers[number % len(makers)], wholes[number % len(makers)]
        parts = history(draw, steps=STEPS, every=EVERY, world_sizes=WORLD_SIZES, most_workers=5, most_kills=5)
        batches = [each for part in parts for each in loaded(make, part)]
        wrong += {step for step, _ in batches} != set(whole) or any(whole[step] != rows for step, rows in batches)
    return wrong


REAL_STEPS, REAL_EVERY = 8, 2


def real(folder: Path, count: int) -> list[str]:
    """So many training runs, killed and resumed on other numbers of ranks; return what is wrong with them."""
    manifest = make_set(folder / "set", columns=("image", "text"), rows=24)
    whole = _trained(_run(manifest, folder / "whole"), [Part(1, 0, 0, REAL_STEPS)])
    problems = []
    for number in range(count):
        draw = random.Random(number)
        parts = history(draw, steps=REAL_STEPS, every=REAL_EVERY, world_sizes=(1, 2, 4), most_workers=2, most_kills=2)
        problem = _unlike(_trained(_run(manifest, folder / f"parts-{number}"), parts), whole)
        if problem is not None:
            problems.append(f"history {number}, {parts}: {problem}")
    return problems


def _run(manifest: str, out: Path) -> Run:
    """A run without dropout, which would be drawn anew on another number of ranks."""
    sets = {"pictures": manifest, "sounds": manifest}
    built = tree(sets, out)
    del built["model"]["towers"]["audio"], built["data"]["sources"]["sounds"]
    built["model"]["towers"]["text"]["dropout"] = 0.0
    return run_of(
        sets,
        out,
        steps=REAL_STEPS,
        model=built["model"],
        data={**built["data"], "batch_rows": 8},
        objectives={"main": {"type": "infonce", "pairs": [["image", "text"]]}},
        engine={"type": "ddp", "device": "cpu"},
        watchdog={"beat_seconds": 0.3},
        checkpoint={"every_steps": REAL_EVERY, "keep": 9},
        log={"every_steps": 1, "tensorboard": False},
    )


def _trained(run: Run, parts: list[Part]) -> Done:
    for part in parts:
        resized = replace(run, data=replace(run.data, workers=part.workers))
        last = part.stop == REAL_STEPS
        fault = "none" if last else "killed"
        ended = run_ranks(resized, Start(fault, part.stop, at="all", world_size=part.world_size))
        if last and set(ended.codes) != {0} or not last and -9 not in ended.codes:
            raise RuntimeError(f"{part} ended with {in_words(ended.codes)}: {ended.text[-900:]}")
    return done(run)


def _unlike(found: Done, expected: Done) -> str | None:
    if found.rows != expected.rows:
        return f"other rows: {found.rows} instead of {expected.rows}"
    far = [
        step
        for step, loss in expected.losses.items()
        if not abs(float(found.losses[step]) - float(loss)) <= 1e-5 * abs(float(loss))
    ]
    return f"losses of steps {far} differ by more than 1e-5" if far else None
