"""Train one Run.  Read top to bottom: set up, build, resume, loop."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from mmcontrast import comm
from mmcontrast.allocator import keep_freed_memory
from mmcontrast.checkpoint.writer import Checkpoints
from mmcontrast.data.loader import Loader
from mmcontrast.data.workers import naming_lost_workers
from mmcontrast.engines import ENGINES
from mmcontrast.engines.base import Update
from mmcontrast.evaluate.while_training import Evaluations, check_evals
from mmcontrast.logs import Log
from mmcontrast.model import Model
from mmcontrast.optim import OPTIMIZERS, SCHEDULES
from mmcontrast.progress import Progress
from mmcontrast.randomness import seed_all, seed_rank
from mmcontrast.run import Run, build_objectives, check
from mmcontrast.run_folder import check_ranks_agree, open_run_folder
from mmcontrast.source_losses import SourceLosses
from mmcontrast.start import load_start
from mmcontrast.steps import STEPS
from mmcontrast.stopping import StopSignal
from mmcontrast.teacher import load_teacher
from mmcontrast.types import Terms
from mmcontrast.watchdog import Watchdog

REFUSED = Update(grad_norm=float("nan"), applied=False)  # of a step whose loss was not allowed a backward


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
        LaunchError: ranks do not meet, or differ in their config or packages.
        Diverged: the loss or a gradient stopped being finite, and the guard's policy says stop.
        RankLost: another rank is dead, stopped or stuck.
        WorkerLost: a loading process is.
        CheckpointError: the run's last state could not be written.
        EvaluationFailed: an evaluation failed, and its policy says stop.
    """
    # ------------------------------------------------------------------ set up
    ENGINES.get(run.engine.registry_name).start(run.engine)
    check_ranks_agree(run)
    with comm.together():
        arithmetic = [*check(run), *check_evals(run)]
        home = open_run_folder(run)
    seed_all(run.seed, 0)  # the same weights on every rank
    if run.threads is not None:
        torch.set_num_threads(run.threads)

    # ------------------------------------------------------------------- build
    model = Model(run.model, build_objectives(run), combine=run.combine, teacher=load_teacher(run))
    with comm.together():
        starts = load_start(model)
    seed_rank(run.seed, comm.rank())
    engine = ENGINES.build(run.engine, model=model, optimizer=OPTIMIZERS.build(run.optimizer))
    if engine.device.type == "cpu":
        keep_freed_memory()
    specs = run.column_specs(model.needs)
    loader = Loader(run.data, seed=run.seed, specs=specs, rank=comm.rank(), world_size=comm.world_size())

    with (
        Log(home, steps=run.steps, every_steps=run.log.every_steps, tensorboard=run.log.tensorboard) as log,
        Watchdog(home / "ranks", run.watchdog) as watchdog,
        StopSignal() as stop,
        Checkpoints(home / "checkpoints", run.checkpoint, say=log.say) as checkpoints,
        naming_lost_workers(),
    ):
        for line in (f"run folder {home}", *arithmetic, *starts, parameters_in_words(model)):
            log.say(line)
        progress = Progress(run, engine=engine, loader=loader, log=log, checkpoints=checkpoints)
        evaluations = Evaluations(run, watchdog=watchdog, say=log.say)
        return loop(progress, evaluations, stop=stop, watchdog=watchdog)


def loop(progress: Progress, evaluations: Evaluations, *, stop: StopSignal, watchdog: Watchdog) -> Trained:
    """Resume and take steps until the last one, or until any rank is asked to stop."""
    run, engine, log, guard = progress.run, progress.engine, progress.log, progress.guard
    schedule = SCHEDULES.build(run.schedule, steps=progress.planned)
    step = STEPS.build(run.step, engine=engine)
    by_source = SourceLosses(progress.loader.names, per_step=run.data.draw == "per_step", device=engine.device)

    # ------------------------------------------------------------------ resume
    progress.resume()
    log.say(f"training from step {progress.clock.step} of {run.steps}")
    log.start(progress.clock.step)
    evaluations.start(progress.epochs)

    # -------------------------------------------------------------------- loop
    while progress.clock.step < progress.last:
        asked, wanted, bad = comm.any_true(stop.asked, progress.checkpoints.asks(), bool(progress.loader.bad))
        if bad:
            progress.quarantine_rows()
        if asked:
            break
        if wanted or progress.due():
            with watchdog.at("checkpoint", step=progress.clock.step):
                progress.save()
        began, clock = time.perf_counter(), progress.clock
        with log.timer("data"), watchdog.at("data", step=clock.step):
            loaded = progress.next_batch()
        with log.timer("step"), watchdog.at("step", step=clock.step):
            guard.begin(left_out=progress.journal.skips(clock.batch))
            terms = step(loaded.batch.to(engine.device), allows=guard.allows)
            factor = schedule.factor(clock.step)
            update = engine.step(lr_factor=factor) if guard.allowed else REFUSED
            if update.applied:
                engine.model.after_step()
                progress.average()
        applied = update.applied or update.rescaled
        trouble = guard.judge(clock.step, norm=update.grad_norm, applied=applied, batch=loaded.batch)
        if trouble is not None:
            progress.leave_out(trouble)
            if trouble.action == "rollback":
                continue
        elif applied:
            by_source.add(terms, loaded.sources)
        rows = len(loaded.batch) * comm.world_size()
        progress.advance(rows, time.perf_counter() - began)
        log.tick(clock.step, rows)
        due = evaluations.due(clock.step, last=progress.last, epochs=progress.epochs)
        if due:
            with log.timer("evaluation"):
                progress.evaluated = evaluations.run(due, clock, engine)
        if due or log.due(clock.step):
            rate = {"learning_rate": run.optimizer.lr * factor, "grad_norm": update.grad_norm}
            progress.metrics = {**global_means(terms), **rate, **by_source.taken(), **progress.stats()}
            log.scalars(clock.step, {**progress.metrics, **progress.evaluated})
    with watchdog.at("last checkpoint", step=progress.clock.step):
        path = progress.finish()
    return ended(progress, path, stop)


def ended(progress: Progress, path: Path, stop: StopSignal) -> Trained:
    """Say how the loop ended, once its last state is saved."""
    clock = progress.clock
    if clock.step < progress.last:
        progress.log.say(f"stopped by {stop.name} at step {clock.step}, saved to {path}; the same command resumes")
        return Trained(path, clock.step, stop.exit_code)
    progress.log.say(f"done: {clock.step} steps in {clock.seconds:.0f} s, checkpoint {path}")
    return Trained(path, clock.step, 0)


def global_means(terms: Terms) -> dict[str, float]:
    """Average the loss and its scalars over ranks."""
    values = {"loss": terms.loss, **terms.scalars}
    return {name: float(comm.all_mean(value)) for name, value in values.items()}


def parameters_in_words(model: Model) -> str:
    """Return the number of parameters of each tower."""
    parts = [f"{name} {sum(p.numel() for p in tower.parameters()) / 1e6:.2f}M" for name, tower in model.towers.items()]
    return f"towers: {', '.join(parts)}"
