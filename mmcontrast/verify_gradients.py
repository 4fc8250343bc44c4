"""Does a run's own step, on all its ranks, have the gradients of one process that holds the whole batch?

The reference embeds every rank's rows in the order in which that rank embeds them, from that rank's random state, so
that dropout masks agree; joins the embeddings; and takes the loss once, with plain autograd and no collective.  Both
run in float32, from the same weights: the initial ones, each moved a little, for a gate that starts at zero would hide
the gradients behind it.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmcontrast import comm
from mmcontrast.data.loader import Loader
from mmcontrast.engines import ENGINES
from mmcontrast.engines.base import Engine, make_row_major
from mmcontrast.model import Model
from mmcontrast.optim import OPTIMIZERS
from mmcontrast.randomness import seed_all
from mmcontrast.run import Run, build_objectives, check
from mmcontrast.steps import STEPS
from mmcontrast.types import Batch, Embeddings

TOLERANCE = 1e-5  # float32 sums taken in another order reach some 1e-6
SAMPLE_ROWS = 8  # rows of each rank


@dataclass(frozen=True)
class Difference:
    """Where the two ways differ most within one part of the model."""

    part: str  # "loss", or the first two parts of parameter names, as in "towers.image"
    largest: float  # largest absolute difference over the largest absolute gradient of the part
    parameter: str  # where it is


@dataclass(frozen=True)
class Verified:
    """The comparison, the same on every rank."""

    setting: str  # ranks, engine, step, rows
    losses: int  # losses of one update: more than one when the step splits the batch
    differences: list[Difference]


def verify_gradients(run: Run) -> Verified:
    """Compare on a small sample of the run's first batch; every rank calls it.

    Raises:
        ConfigError, NeedsError, LaunchError: the run cannot start.
    """
    ENGINES.get(run.engine.registry_name).start(run.engine)
    with comm.together():
        check(run)
    engine_config = dataclasses.replace(run.engine, precision="fp32")
    rows = min(SAMPLE_ROWS, run.data.batch_rows // comm.world_size())
    step_config = _in_several_pieces(run.step, rows)

    seed_all(run.seed, 0)
    model = Model(run.model, build_objectives(run), combine=run.combine).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    reference = copy.deepcopy(model)
    lay_out_as(ENGINES.get(run.engine.registry_name), reference)
    engine = ENGINES.build(engine_config, model=model, optimizer=OPTIMIZERS.build(run.optimizer))
    step = STEPS.build(step_config, engine=engine)
    seed_all(run.seed, comm.rank())
    batch = _sample(run, model, rank=comm.rank(), rows=rows).to(engine.device)
    losses = len(step.pieces(step_config, batch))
    terms = step(batch)
    loss, found = comm.all_mean(terms.loss), engine.gradients()

    differences: list[Difference] = []
    if comm.rank() == 0:
        reference.to(engine.device)
        expected_loss = _reference_loss(run, reference, step_config, rows=rows, device=engine.device)
        expected_loss.backward()
        expected = {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for name, parameter in reference.named_parameters()
            if parameter.requires_grad
        }
        part = float((loss - expected_loss.detach()).abs() / expected_loss.detach().abs().clamp_min(1e-30))
        differences = [Difference("loss", part, ""), *compare(found, expected)]
    names = f"engine {run.engine.registry_name}, step {step_config.registry_name}"
    setting = f"{comm.world_size()} rank(s), {names}, {rows} rows a rank, float32"
    return Verified(setting, losses, comm.from_first(differences))


def lay_out_as(engine: type[Engine], model: Model) -> None:
    """Let weights lie in memory as an engine's do, so that both ways run the same kernels of convolutions."""
    if engine.row_major:
        make_row_major(model)


def compare(found: dict[str, Tensor], expected: dict[str, Tensor]) -> list[Difference]:
    """Largest difference of each part, relative to the part's largest expected gradient."""
    assert found.keys() == expected.keys(), "both ways have the same parameters"
    parts: dict[str, list[str]] = {}
    for name in expected:
        parts.setdefault(".".join(name.split(".")[:2]), []).append(name)
    result = []
    for part, names in sorted(parts.items()):
        scale = max(float(expected[name].abs().max()) for name in names)
        worst = {name: float((found[name] - expected[name]).abs().max()) for name in names}
        # NaN is the worst of all, and max() would pass it over.
        where = max(worst, key=lambda name: float("inf") if worst[name] != worst[name] else worst[name])
        largest = worst[where] / scale if scale > 0 else worst[where]
        result.append(Difference(part, float("inf") if largest != largest else largest, where))
    return result


def in_words(verified: Verified) -> list[str]:
    """The table, and what it means."""
    width = max(len(each.part) for each in verified.differences)
    lines = [verified.setting, f"{'part':<{width}}  largest relative difference"]
    for each in verified.differences:
        mark = "" if each.largest <= TOLERANCE else "  <- differs"
        lines.append(f"{each.part:<{width}}  {each.largest:.1e}  {each.parameter}{mark}")
    wrong = sum(each.largest > TOLERANCE for each in verified.differences)
    if wrong:
        return [
            *lines,
            f"{wrong} part(s) differ by more than {TOLERANCE:g}: these are not the gradients of the batch.",
        ]
    batch = (
        "the whole batch" if verified.losses == 1 else f"the same {verified.losses} micro-batches, one after another"
    )
    return [*lines, f"the same gradients as one process with {batch}, to {TOLERANCE:g}"]


def _in_several_pieces(step: Any, rows: int) -> Any:
    """The run's step, with pieces small enough that the sample has at least two."""
    fields = {field.name for field in dataclasses.fields(step)} & {"chunk_rows", "micro_rows"}
    return dataclasses.replace(step, **{name: min(getattr(step, name), max(1, rows // 2)) for name in fields})


def _sample(run: Run, model: Model, *, rank: int, rows: int) -> Batch:
    """Rows spread over the first batch of a rank, so that every source and modality may be among them."""
    data = dataclasses.replace(run.data, workers=0)
    specs = run.column_specs(model.needs)
    loader = Loader(data, seed=run.seed, specs=specs, rank=rank, world_size=comm.world_size())
    loader.seek(0, last=1)
    batch = next(loader).batch
    return batch.at(torch.linspace(0, len(batch) - 1, rows).round().long())


def _reference_loss(run: Run, model: Model, step: Any, *, rows: int, device: torch.device) -> Tensor:
    """Loss of all ranks' rows in this process: the mean over the step's losses."""
    kind, ranks = STEPS.get(step.registry_name), []
    batches = [_sample(run, model, rank=rank, rows=rows).to(device) for rank in range(comm.world_size())]
    for rank, batch in enumerate(batches):
        seed_all(run.seed, rank)
        losses = kind.pieces(step, batch)
        ranks.append([[model("embed", piece) for piece in pieces] for pieces in losses])
    with comm.alone():
        # zip: the first loss of every rank, then the second; each over the rows of all ranks, in rank order.
        losses = [
            model("loss", Embeddings.join([piece for pieces in share for piece in pieces])).loss
            for share in zip(*ranks, strict=True)
        ]
    return torch.stack(losses).mean()
