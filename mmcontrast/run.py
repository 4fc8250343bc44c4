"""The complete description of one job, and every check that needs no weights."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import torch

from mmcontrast import comm
from mmcontrast.combine import COMBINERS
from mmcontrast.combine.weighted_sum import WeightedSum
from mmcontrast.config import Count, NonNegativeCount, OneOf, Positive, config, load
from mmcontrast.data.columns import check_derived, check_labels, labels_of
from mmcontrast.data.loader import DataConfig, build_mixture, open_source
from mmcontrast.data.source import check_source
from mmcontrast.data.streaming import StreamedShards
from mmcontrast.engines import ENGINES
from mmcontrast.engines.local import Local
from mmcontrast.errors import ConfigError, NeedsError, RunFolderError, did_you_mean
from mmcontrast.evals import EvalConfig
from mmcontrast.exported import exported_model, is_exported
from mmcontrast.geometry import GEOMETRIES
from mmcontrast.guard import GuardConfig
from mmcontrast.made_up import try_objectives
from mmcontrast.model import Model, ModelConfig, modality_of, spaces_of
from mmcontrast.objectives import OBJECTIVES
from mmcontrast.objectives.base import Objective
from mmcontrast.optim import OPTIMIZERS, SCHEDULES
from mmcontrast.optim.adamw import AdamW
from mmcontrast.optim.average import AverageConfig
from mmcontrast.optim.cosine import Cosine
from mmcontrast.optim.groups import groups_in_words
from mmcontrast.specs import InputSpec
from mmcontrast.steps import STEPS
from mmcontrast.steps.plain import Plain
from mmcontrast.types import Needs
from mmcontrast.watchdog import WatchdogConfig


@config
class LogConfig:
    """What is written while training."""

    every_steps: Count = 10  # steps between rows of metrics.jsonl
    tensorboard: bool = True


@config
class CheckpointConfig:
    """When checkpoints are written, and which are kept."""

    every_steps: Count | None = None  # null: not by steps; there is always one at the end
    every_minutes: Positive | None = None  # also when so many minutes have passed since the last one; null: never
    keep: Count = 2  # newest ones kept
    keep_every_steps: Count | None = None  # those of a multiple of so many steps are kept for good; null: none
    keep_best: NonNegativeCount = 0  # so many with the best value of best_metric are kept too
    best_metric: str = "loss"  # a name of metrics.jsonl; the last value written before the checkpoint counts
    best_is: Literal["lowest", "highest"] = "lowest"
    retry_seconds: Positive = 60.0  # after a failed write, time until the next try


@config
class Run:
    """One training job."""

    out: Path  # run folder: config, metrics, checkpoints, reports
    steps: Count  # updates
    model: ModelConfig
    data: DataConfig
    objectives: dict[str, Annotated[Any, OneOf(OBJECTIVES)]]
    combine: Annotated[Any, OneOf(COMBINERS)] = WeightedSum.Config()  # how the objectives become one loss
    seed: NonNegativeCount = 0
    optimizer: Annotated[Any, OneOf(OPTIMIZERS)] = AdamW.Config()
    schedule: Annotated[Any, OneOf(SCHEDULES)] = Cosine.Config()
    ema: AverageConfig | None = None  # also keep a moving average of the trained weights; null: none
    step: Annotated[Any, OneOf(STEPS)] = Plain.Config()
    engine: Annotated[Any, OneOf(ENGINES)] = Local.Config()
    log: LogConfig = LogConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    evals: dict[str, EvalConfig] = {}  # name -> what is measured while the run trains, and when
    threads: Count | None = None  # CPU threads of the training process; null: torch's choice
    guard: GuardConfig = GuardConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    spike_limit: Positive | None = None  # a loss above this counts as not finite; null: none does
    teacher: Path | None = None  # folder whose encoders teach: a finished run, or what import or export wrote

    def column_specs(self, needs: Needs) -> dict[str, InputSpec]:
        """Column -> what its tower asks for, for every column that is embedded."""
        specs = self.model.specs()
        return {column: specs[modality_of(column)] for column in needs.columns}


# Fields that may differ between the runs of one folder: they change no weight, or say what to do when a step fails.
FREE_FIELDS = (
    "out", "log", "evals", "checkpoint", "guard", "watchdog", "threads",
    "model.training.*.checkpointing", "model.training.*.compile",
    "data.workers", "data.prefetch", "data.cache_decoded",
    # All of data.storage but check_crc32, and nothing of data.limits: those two say which rows are damaged.
    "data.storage.cache", "data.storage.cache_bytes", "data.storage.schemes", "data.storage.retries",
    "data.storage.backoff_seconds", "data.storage.timeout_seconds", "data.storage.on_shard_error",
    "data.quarantine",
)  # fmt: skip
# States know no engine: a run may go on under another one.  Of an engine's fields only these change the numbers.
ENGINE_NUMBERS = ("engine.precision", "engine.clip_norm")


def load_run(path: Path, overrides: list[str] | None = None) -> Run:
    """Read a run's config.

    Raises:
        ConfigError: every problem found in it.
    """
    return load(Run, path, overrides)


def build_objectives(run: Run) -> dict[str, Any]:
    """Build the run's objectives by name."""
    return {name: OBJECTIVES.build(objective) for name, objective in run.objectives.items()}


def check(run: Run) -> list[str]:
    """Check all that can be decided without weights; return the run's arithmetic in words.

    Raises:
        NeedsError: a column, label or tower is missing.
        ConfigError: sources or sizes that cannot work.
        RunFolderError: the run folder cannot be written.
    """
    checked = partial(check_source, storage=run.data.storage, limits=run.data.limits)
    problems = [line for name, source in run.data.sources.items() for line in checked(name, source)]
    problems += check_labels(run.data.sources)
    if not run.data.sources:
        problems.append("data.sources: empty. A run needs at least one source.")
    if not run.objectives:
        problems.append("objectives: empty. A run needs at least one objective.")
    world_size = comm.launch().world_size
    if run.data.batch_rows % world_size:
        problems.append(f"data.batch_rows: {run.data.batch_rows} rows do not divide among {world_size} ranks.")
    problems += optimizer_problems(run) + _patience_problems(run) + _compile_problems(run)
    if not problems:
        for name, source in run.data.sources.items():
            shards = open_source(run.data, name)
            shards.check_readers(ranks=world_size, workers=run.data.workers)
            problems += check_derived(name, source, shards.manifest.columns, run.model.specs())
    if problems:
        raise ConfigError("\n".join(problems))
    objectives = build_objectives(run)
    check_needs({name: objective.needs() for name, objective in objectives.items()}, run)
    check_objectives(run, objectives)
    try_objectives(run.model, partial(build_objectives, run))
    trained = check_training(run.model, objectives.values())
    check_writable(run.out)
    local = run.data.batch_rows // world_size
    lines = [f"{world_size} rank(s) x {local} rows = {run.data.batch_rows:,} rows per update, {run.steps:,} updates"]
    lines += STEPS.get(run.step.registry_name).in_words(run.step, rows=local, world_size=world_size)
    return [*lines, *trained, *optimizer_in_words(run), *mixture_in_words(run)]


def optimizer_problems(run: Run) -> list[str]:
    """Towers that have rates but are not there, and an optimizer that the engine cannot run."""
    problems = [
        f"optimizer.towers.{name}: model.towers has no tower for {name}.{did_you_mean(name, run.model.towers)}"
        for name in run.optimizer.towers
        if name not in run.model.towers
    ]
    engine, optimizer = run.engine.registry_name, run.optimizer.registry_name
    if ENGINES.get(engine).cuts_weights and OPTIMIZERS.get(optimizer).whole_weights:
        problems.append(
            f"optimizer.type: '{optimizer}' looks at each weight as a whole, but engine '{engine}' gives it flat "
            "parts of them. Set engine.type to ddp, or optimizer.type to adamw."
        )
    return problems


def optimizer_in_words(run: Run) -> list[str]:
    """The learning rate over the run; where it or weight decay differ within the model, a line for each tower."""
    schedule, steps = SCHEDULES.build(run.schedule, steps=run.steps), run.steps
    peak = max(range(min(steps, run.schedule.warmup_steps + 1)), key=schedule.factor)
    shown = ", ".join(
        f"{run.optimizer.lr * schedule.factor(step):.3g} at update {step + 1:,}"
        for step in sorted({0, peak, steps - 1})
    )
    lines = [f"optimizer {run.optimizer.registry_name}, schedule {run.schedule.registry_name}: learning rate {shown}"]
    if not run.optimizer.vary:
        return lines
    with torch.device("meta"):  # shapes without weights
        model = Model(run.model, build_objectives(run), combine=run.combine)
    return [*lines, *groups_in_words(model, OPTIMIZERS.build(run.optimizer).groups(model))]


def _patience_problems(run: Run) -> list[str]:
    """A collective that gives up before the watchdog speaks leaves no word on which rank hangs."""
    if run.engine.registry_name == "local" or run.watchdog.hung_seconds < run.engine.timeout_seconds:
        return []
    return [
        f"watchdog.hung_seconds: {run.watchdog.hung_seconds:g} s is not below engine.timeout_seconds = "
        f"{run.engine.timeout_seconds:g} s: the collective would fail before the watchdog names the rank that hangs."
    ]


def _compile_problems(run: Run) -> list[str]:
    """Stage 3 fetches weights by hooks around each module, at which the compiler cuts a tower into pieces."""
    compiled = [name for name, fields in run.model.training.items() if fields.compile]
    if run.engine.registry_name != "deepspeed" or run.engine.stage < 3 or not compiled:
        return []
    return [
        f"model.training.{compiled[0]}.compile: engine deepspeed does not run compiled towers at stage 3. "
        "Use stage 1 or 2, or ddp, or drop it."
    ]


def check_training(model: ModelConfig, objectives: Collection[Objective] = ()) -> list[str]:
    """What of each tower is trained, in words; nothing where all of every tower is.

    Args:
        objectives: some learn something of their own that is worth a run.

    Raises:
        ConfigError: a tower cannot be trained as its fields say, or nothing is left to train.
    """
    if not model.training:
        return []
    with torch.device("meta"):  # shapes without weights
        built = Model(model)
    lines = []
    for name in model.training:
        sizes = [(each.numel(), each.requires_grad) for each in built.towers[name].parameters()]
        total, trained = sum(size for size, _ in sizes), sum(size for size, wanted in sizes if wanted)
        lines.append(f"tower {name}: {trained:,} of {total:,} parameters are trained")
    trainable = any(parameter.requires_grad for parameter in built.parameters())
    if not trainable and not any(objective.learns_alone for objective in objectives):
        raise ConfigError("model.training: every tower and head is frozen; nothing would be trained.")
    return lines


def mixture_in_words(run: Run) -> list[str]:
    """Rows and share of each source, and where one runs dry before the run ends.

    Raises:
        ConfigError: nothing can be drawn at step 0.
    """
    mixture = build_mixture(run.data, seed=run.seed)
    last = run.steps if mixture.end is None else min(run.steps, mixture.end)
    drawn = mixture.drawn(last)
    lines = []
    for name in run.data.sources:
        rows = mixture.shares[name].order.rows
        share = drawn[name] / max(1, sum(drawn.values()))
        lines.append(
            f"source {name}: {rows:,} rows, {share:.1%} of what is drawn, {mixture.epochs(name, last):.2f} epochs"
        )
        opened = open_source(run.data, name)
        if isinstance(opened, StreamedShards):
            lines.append(opened.in_words())
        dry = mixture.dried.get(name, last)
        if dry < last:
            lines.append(f"source {name}: dry from step {dry:,} on, the others share its part")
    if last < run.steps:
        lines.append(
            f"the data end at step {last:,} of {run.steps:,}: a source with when_dry: stop is dry, or all are"
        )
    return lines


def provided(run: Run) -> dict[str, tuple[str, ...]]:
    """Columns of each source, stored and derived."""
    return {
        name: (*open_source(run.data, name).manifest.columns, *source.derive)
        for name, source in run.data.sources.items()
    }


def check_needs(needs: Mapping[str, Needs], run: Run) -> None:
    """Compare what objectives read with what towers and sources provide.

    Raises:
        NeedsError: every gap, one a line.
    """
    sources = provided(run)
    columns = sorted({column for names in sources.values() for column in names})
    problems = []
    teacher = teacher_model(run)
    for name, need in needs.items():
        where = f"objective '{name}' ({run.objectives[name].registry_name})"
        for column in need.columns:
            if modality_of(column) not in run.model.towers:
                problems.append(
                    f"{where} reads column '{column}', but model.towers has no tower for "
                    f"{modality_of(column)}.{did_you_mean(modality_of(column), run.model.towers)}"
                )
            if column not in columns:
                listing = "; ".join(f"{source} provides {', '.join(names)}" for source, names in sources.items())
                made = f"data.sources.X.derive='{{{column}: {{type: ...}}}}'"
                problems.append(
                    f"{where} reads column '{column}', which no source provides: {listing}. Add a source that has "
                    f"it, {f'derive it ({made}), ' if '.' in column else ''}or drop objectives.{name}."
                )
        problems += [f"{where} {problem}" for problem in _label_problems(need, run)]
        problems += [f"{where} {problem}" for problem in _teacher_problems(need, run, teacher)]
    if problems:
        raise NeedsError("\n".join(problems))


def _label_problems(need: Needs, run: Run) -> list[str]:
    """Which labels no source provides."""
    labels = {label for source in run.data.sources.values() for label in labels_of(source)}
    problems = []
    for label in need.labels:
        if label not in labels:
            field = "group=FIELD" if label == "group" else f"labels.{label}='{{field: FIELD}}'"
            problems.append(
                f"reads the label '{label}', which no source provides. They provide: "
                f"{', '.join(sorted(labels)) or 'none'}. Set data.sources.X.{field}."
            )
    return problems


def _teacher_problems(need: Needs, run: Run, teacher: ModelConfig | None) -> list[str]:
    """What stands between an objective and the teacher's embeddings of its columns."""
    if not need.teacher:
        return []
    if teacher is None:
        return [
            "reads a teacher's embeddings, but teacher is null. Set teacher to a finished run, or an imported folder."
        ]
    problems = []
    for modality in sorted({modality_of(column) for column in need.teacher}):
        if modality not in teacher.towers:
            problems.append(f"reads the teacher's {modality}, but '{run.teacher}' has no {modality} tower.")
        elif modality in run.model.towers and teacher.specs()[modality] != run.model.specs()[modality]:
            problems.append(
                f"shows the teacher what model.towers.{modality} reads, but the teacher reads "
                f"{teacher.specs()[modality]} and not {run.model.specs()[modality]}. Give both the same inputs."
            )
    return problems


def teacher_model(run: Run) -> ModelConfig | None:
    """The teacher's towers, from its run folder, or from one that was imported or exported.

    Raises:
        ConfigError, CheckpointError: the folder is none of these.
    """
    if run.teacher is None or is_exported(run.teacher):
        return None if run.teacher is None else exported_model(run.teacher)
    return load(Run, run.teacher / "config.yaml").model


def check_objectives(run: Run, objectives: Mapping[str, Any]) -> None:
    """Let objectives say what cannot work at this batch size and these widths, building nothing real.

    Raises:
        ConfigError, NeedsError: every problem with the batch, or the first with the widths.
    """
    teacher = teacher_model(run)
    problems = [
        f"objectives.{name}: {line}"
        for name, objective in objectives.items()
        for line in objective.problems(run.data.batch_rows)
    ]
    geometry = GEOMETRIES.build(run.model.geometry)
    problems += [
        f"objectives.{name}: '{run.objectives[name].registry_name}' compares by dot products, which mean nothing in "
        f"geometry '{run.model.geometry.registry_name}'. Use one that asks the geometry: "
        f"{', '.join(each for each in OBJECTIVES.names() if OBJECTIVES.get(each).any_geometry)}."
        for name, objective in objectives.items()
        if not (geometry.dot_product or objective.any_geometry)
    ]
    problems += COMBINERS.get(run.combine.registry_name).problems(run.combine, list(run.objectives))
    if problems:
        raise ConfigError("\n".join(problems))
    # Stand-ins for towers, which are not built: no check depends on their widths.
    towers = {name: SimpleNamespace(width=8, token_width=8) for name in run.model.towers}
    teacher_dim = None if teacher is None else teacher.dim
    spaces = spaces_of(geometry, run.model.dim, towers, teacher_dim=teacher_dim)
    for objective in objectives.values():
        with torch.device("meta"):
            objective.attach(spaces)


def check_writable(folder: Path) -> None:
    """Make sure that files can be written under ``folder``, creating nothing but the folder.

    Raises:
        RunFolderError: it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise RunFolderError(
            f"cannot write to the run folder '{folder}': {error.strerror}. Set out=FOLDER."
        ) from error
