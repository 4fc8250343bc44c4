"""Train one Run.  Read top to bottom: set up, build, resume, loop."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from mmcontrast import checkpoint, comm
from mmcontrast.checkpoint import Clock
from mmcontrast.data.loader import Loader
from mmcontrast.engines import ENGINES
from mmcontrast.engines.base import Engine, Update
from mmcontrast.errors import Diverged
from mmcontrast.logs import Log
from mmcontrast.model import Model
from mmcontrast.optim import OPTIMIZERS, SCHEDULES
from mmcontrast.randomness import seed_all, seed_rank
from mmcontrast.run import Run, build_objectives, check
from mmcontrast.run_folder import open_run_folder
from mmcontrast.steps import STEPS
from mmcontrast.stopping import StopSignal
from mmcontrast.types import Terms


@dataclass(frozen=True)
class Trained:
    """How a training call ended."""

    checkpoint: Path
    step: int
    exit_code: int  # 0: done; 130 or 75: stopped by a signal, saved


def train(run: Run) -> Trained:
    """Train until ``run.steps`` updates, resuming by itself.

    Raises:
        NeedsError: an objective reads what no source or tower provides (before any weight exists).
        ConfigError, RunFolderError: the config or the run folder cannot be used.
        Diverged: the loss or a gradient stopped being finite; names the step and rows.
    """
    # ------------------------------------------------------------------ set up
    ENGINES.get(run.engine.registry_name).start(run.engine)
    with comm.together():
        arithmetic = check(run)
        home = open_run_folder(run)
    seed_all(run.seed, 0)  # the same weights on every rank
    if run.threads is not None:
        torch.set_num_threads(run.threads)

    # ------------------------------------------------------------------- build
    model = Model(run.model, build_objectives(run))
    seed_rank(run.seed, comm.rank())
    engine = ENGINES.build(run.engine, model=model, optimizer=OPTIMIZERS.build(run.optimizer))
    step = STEPS.build(run.step, engine=engine)
    specs = run.column_specs(model.needs)
    loader = Loader(run.data, seed=run.seed, specs=specs, rank=comm.rank(), world_size=comm.world_size())
    last = run.steps if loader.end is None else min(run.steps, loader.end)
    schedule = SCHEDULES.build(run.schedule, steps=last)

    # ------------------------------------------------------------------ resume
    clock = resume(home, engine)
    loader.seek(clock.step, last=last)
    log = Log(home, steps=run.steps, every_steps=run.log.every_steps, tensorboard=run.log.tensorboard)

    # -------------------------------------------------------------------- loop
    with log, StopSignal() as stop:
        for line in (f"run folder {home}", *arithmetic, parameters_in_words(model)):
            log.say(line)
        log.say(f"training from step {clock.step} of {run.steps}")
        log.start(clock.step)
        saved = clock.step if clock.step else -1
        while clock.step < last and not stop.agreed():
            began = time.perf_counter()
            with log.timer("data"):
                loaded = next(loader)
            with log.timer("step"):
                terms = step(loaded.batch.to(engine.device))
                factor = schedule.factor(clock.step)
                update = engine.step(lr_factor=factor)
                model.after_step()
            refuse_divergence(clock.step, terms, update, loaded.batch.keys, limit=run.spike_limit)
            clock.step += 1
            clock.rows += len(loaded.batch) * comm.world_size()
            clock.seconds += time.perf_counter() - began
            for message in loaded.skipped:
                log.say(f"skipped: {message}")
            log.tick(clock.step, len(loaded.batch) * comm.world_size())
            if log.due(clock.step):
                rate = {"learning_rate": run.optimizer.lr * factor, "grad_norm": update.grad_norm}
                log.scalars(clock.step, {**global_means(terms), **rate, **sizes(run, clock), **loader.stats()})
            every = run.checkpoint.every_steps
            if every is not None and clock.step % every == 0:
                write(home, engine, clock, keep=run.checkpoint.keep)
                saved = clock.step
        if saved != clock.step:
            write(home, engine, clock, keep=run.checkpoint.keep)
        return ended(run, clock, stop, log, last=last)


def ended(run: Run, clock: Clock, stop: StopSignal, log: Log, *, last: int) -> Trained:
    """Say how the loop ended, once its last state is saved."""
    path = run.out / "checkpoints" / checkpoint.folder_name(clock.step)
    if clock.step < last:
        log.say(f"stopped by {stop.name} at step {clock.step}, saved to {path}; the same command resumes")
        return Trained(path, clock.step, stop.exit_code)
    log.say(f"done: {last} steps in {clock.seconds:.0f} s, checkpoint {path}")
    return Trained(path, clock.step, 0)


def sizes(run: Run, clock: Clock) -> dict[str, float]:
    """Rows and seconds so far."""
    return {"rows": clock.rows, "batch_rows": run.data.batch_rows, "seconds": clock.seconds}


def resume(home: Path, engine: Engine) -> Clock:
    """Load the newest valid checkpoint of the run folder, if there is one."""
    found = checkpoint.newest(home / "checkpoints")
    if found is None:
        return Clock()
    saved = checkpoint.load(found)
    engine.load_model_state(saved.model)
    engine.load(found)
    torch.set_rng_state(saved.random_state)
    return saved.clock


def write(home: Path, engine: Engine, clock: Clock, *, keep: int) -> Path:
    """Save the engine's whole state from rank 0."""
    model, path = engine.model_state(), home / "checkpoints" / checkpoint.folder_name(clock.step)
    if comm.rank() > 0:
        engine.save(home)  # takes part in collecting the state; rank 0 writes it
    else:
        checkpoint.save(
            path.parent,
            clock=clock,
            model=model,
            save_engine=engine.save,
            random_state=torch.get_rng_state(),
            keep=keep,
        )
    comm.barrier()
    return path


def global_means(terms: Terms) -> dict[str, float]:
    """Average the loss and its scalars over ranks."""
    values = {"loss": terms.loss, **terms.scalars}
    return {name: float(comm.all_mean(value)) for name, value in values.items()}


def refuse_divergence(step: int, terms: Terms, update: Update, keys: list[str], *, limit: float | None) -> None:
    """Raise when the loss or the gradient norm is not finite, or the loss is over the limit.

    Raises:
        Diverged: names the step and the first rows of its batch.
    """
    loss = float(terms.loss.detach())
    healthy = math.isfinite(loss) and (update.applied or update.rescaled) and (limit is None or loss <= limit)
    if not comm.all_true(healthy):
        raise Diverged(
            f"step {step}: loss {loss:g}, gradient norm {update.grad_norm:g}. Nothing of this step was kept; the "
            f"newest checkpoint is from before it. First rows of its batch: {', '.join(keys[:4])}."
        )


def parameters_in_words(model: Model) -> str:
    """Return the number of parameters of each tower."""
    parts = [f"{name} {sum(p.numel() for p in tower.parameters()) / 1e6:.2f}M" for name, tower in model.towers.items()]
    return f"towers: {', '.join(parts)}"
