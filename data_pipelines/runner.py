"""Run a job: its steps in order, each step's open tasks in several processes, with progress; then the report."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from typing import Any

from data_pipelines.job import JOBS, Job, Step, build_job, config_tree, identity
from data_pipelines.report import write_report
from mmcontrast.config import parse
from mmcontrast.errors import ConfigError, ShardError

logger = logging.getLogger(__name__)

NOT_YET = 75  # sysexits' EX_TEMPFAIL: run the same command again
POLL_SECONDS = 0.5
LOG_SECONDS = 30.0  # between lines of progress where no terminal shows a bar


@dataclass(frozen=True)
class Share:
    """Which tasks this process is to run: those with ``task % of == index``."""

    index: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of:
            raise ConfigError(f"--task {self.index}/{self.of}: expected I/N with 0 <= I < N.")

    def __str__(self) -> str:
        return f"{self.index}-of-{self.of}"

    def tasks(self, count: int) -> list[int]:
        """This share's tasks of a step."""
        return list(range(self.index, count, self.of))


def log_to_stderr() -> None:
    """Show what this package says; other packages' warnings alone."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for name in ("data_pipelines", "mmcontrast"):
        logging.getLogger(name).setLevel(logging.INFO)


def run_job(name: str, config: Any, *, processes: int, share: Share, wait_seconds: float = 0.0) -> int:
    """Run what is left of a job.

    Args:
        processes: how many run tasks at once; 1 runs them in this process.
        share: the part of every step's tasks that is this call's.
        wait_seconds: how long to wait, at the end of a step, for the other shares.

    Returns:
        0 done, 1 done with something found, 75 this share is done and another is not.

    Raises:
        MMContrastError: a user's mistake; the folder stays resumable.
    """
    job = build_job(name, config)
    job.workspace.claim(identity(job))
    started = time.monotonic()
    with job.workspace.lock(str(share)):
        steps = job.steps()
        for place, step in enumerate(steps):
            count = step.num_tasks()
            _run_step(job, name, step, share.tasks(count), processes=processes)
            if share.index != 0 and not any(_may_have_work(later, share) for later in steps[place + 1 :]):
                return 0  # what is left is the others'; member 0 writes the report
            if not _all_done(job, step, share, count, wait_seconds):
                return NOT_YET
        write_report(job, name, seconds=time.monotonic() - started)
        return job.verdict()


def _may_have_work(step: Step, share: Share) -> bool:
    return not isinstance(step.tasks, int) or bool(share.tasks(step.tasks))


def _all_done(job: Job, step: Step, share: Share, count: int, wait_seconds: float) -> bool:
    deadline = time.monotonic() + wait_seconds
    while True:
        missing = [task for task in range(count) if not job.workspace.is_done(step.name, task)]
        if not missing:
            return True
        assert share.of > 1, f"step {step.name} ran all its tasks and left some undone: {missing}"
        if time.monotonic() >= deadline:
            logger.info(
                "step %s: %d of %d tasks are another share's and not done yet (the first is %d); "
                "run the same command again once they are",
                step.name,
                len(missing),
                count,
                missing[0],
            )
            return False
        time.sleep(POLL_SECONDS)


def _run_step(job: Job, name: str, step: Step, tasks: list[int], *, processes: int) -> None:
    todo = [task for task in tasks if not job.workspace.is_done(step.name, task)]
    logger.info("step %s: %d tasks, %d done before", step.name, len(tasks), len(tasks) - len(todo))
    if not todo:
        return
    with _progress(step.name, total=len(tasks), done=len(tasks) - len(todo)) as advance:
        if processes == 1 or len(todo) == 1:
            for task in todo:
                run_task(job, step, task)
                advance()
        else:
            _run_parallel(job, name, step, todo, processes=min(processes, len(todo)), advance=advance)


def run_task(job: Job, step: Step, task: int) -> None:
    """Run one task and write its marker."""
    started = time.monotonic()
    done = step.run(task)
    job.workspace.mark(step.name, task, done, seconds=time.monotonic() - started)


def _run_parallel(job: Job, name: str, step: Step, todo: list[int], *, processes: int, advance: Any) -> None:
    pool = ProcessPoolExecutor(
        processes,
        mp_context=get_context("forkserver"),
        initializer=_start_worker,
        initargs=(name, config_tree(job.config)),
    )
    running: dict[Future[None], int] = {}
    ahead = iter(todo)
    try:
        # A few tasks at a time: a step may have a hundred thousand.
        for _, task in zip(range(2 * processes), ahead, strict=False):
            running[pool.submit(_work, step.name, task)] = task
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                task = running.pop(future)
                try:
                    future.result()
                except BrokenProcessPool as error:
                    near = sorted([task, *running.values()])
                    raise ShardError(
                        f"a worker process of step {step.name} was killed (out of memory?) near tasks "
                        f"{', '.join(map(str, near))}. What is finished is kept: run the same command again, "
                        "with fewer --processes if memory is short."
                    ) from error
                advance()
                following = next(ahead, None)
                if following is not None:
                    running[pool.submit(_work, step.name, following)] = following
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: dict[str, Any] = {}  # job and steps of this worker process


def _start_worker(name: str, tree: dict[str, Any]) -> None:
    log_to_stderr()
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    job = build_job(name, parse(JOBS.get(name).Config, tree))
    _worker["job"] = job
    _worker["steps"] = {step.name: step for step in job.steps()}


def _leave_with_parent() -> None:
    """End this worker when the process that started it is gone, kill -9 included."""
    parent = parent_process()
    assert parent is not None, "a worker has a parent"
    connection.wait([parent.sentinel])
    os._exit(1)


def _work(step: str, task: int) -> None:
    run_task(_worker["job"], _worker["steps"][step], task)


@contextmanager
def _progress(name: str, *, total: int, done: int) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(name, total=total, completed=done)
        lines = _Lines(name, total=total, done=done)

        def advance() -> None:
            progress.advance(bar)
            if not console.is_terminal:
                lines.advance()

        yield advance


class _Lines:
    """Progress for a log file: a line now and then, with the time that is left."""

    def __init__(self, name: str, *, total: int, done: int) -> None:
        self.name, self.total, self.before, self.done = name, total, done, done
        self.started = self.said = time.monotonic()

    def advance(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.said < LOG_SECONDS or self.done == self.total:
            return
        self.said = now
        left = (now - self.started) / (self.done - self.before) * (self.total - self.done)
        logger.info("step %s: %d of %d tasks, %.0f s left", self.name, self.done, self.total, left)
