"""A job: ordered steps over numbered tasks.  Each task is a function of the config, its number and earlier steps.

That rule is all that makes jobs resumable and parallel: a task writes files of its own, the same bytes whichever
process runs it and however often, and steps meet only in files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from data_pipelines.workspace import Done, Workspace
from mmcontrast.config import config, to_tree
from mmcontrast.registry import Registry

JOBS = Registry("job", "data_pipelines.jobs")


@config
class JobConfig:
    """What every job has."""

    out: str  # folder that receives the result, the report and the job's own files


@dataclass(frozen=True)
class Step:
    """One step: ``run(0)`` ... ``run(tasks - 1)`` in any order, on any process."""

    name: str
    tasks: int | Callable[[], int]  # a function: known only once the steps before are done
    run: Callable[[int], Done]

    def num_tasks(self) -> int:
        """Number of tasks; asked only once earlier steps are done."""
        return self.tasks if isinstance(self.tasks, int) else self.tasks()


@dataclass(kw_only=True)
class Findings:
    """What a job's report shows beside the counts."""

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)  # title -> name -> number or text
    histograms: dict[str, list[float]] = field(default_factory=dict)  # title -> values
    outputs: list[str] = field(default_factory=list)  # folders or files, relative to out
    page: str = ""  # HTML that the job adds to its page


class Job:
    """Base of every job; registered in :data:`JOBS` with a nested ``Config``."""

    Config: ClassVar[type]

    def __init__(self, config: Any, workspace: Workspace) -> None:
        self.config = config
        self.workspace = workspace

    def inputs(self) -> dict[str, str]:
        """Input name -> digest: part of the job's identity.  Fails here if an input is missing.

        Raises:
            ShardError, ConfigError: an input is missing or not what it should be.
        """
        return {}

    def steps(self) -> list[Step]:
        """The steps in order."""
        raise NotImplementedError

    def findings(self) -> Findings:
        """What the report shows; asked once, after the last step."""
        return Findings()

    def verdict(self) -> int:
        """Exit code of a finished job: 0, or 1 if it found what it looked for (damage, say)."""
        return 0


def build_job(name: str, config: Any) -> Job:
    """Build the job that ``config`` describes, in the folder it names."""
    job: Job = JOBS.get(name)(config, Workspace(Path(config.out)))
    return job


def config_tree(config: Any) -> dict[str, Any]:
    """A job's config as plain maps; the job's name stands beside it, not in it."""
    return {name: value for name, value in to_tree(config).items() if name != "type"}


def identity(job: Job) -> dict[str, Any]:
    """What a job folder is recognised by: job, settings and digests of the inputs."""
    tree = {name: value for name, value in config_tree(job.config).items() if name != "out"}
    return {"job": job.config.registry_name, "config": tree, "inputs": job.inputs()}
