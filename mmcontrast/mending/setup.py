"""What a mending compares: a baseline, what it is trained on afterwards, and the probes before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmcontrast.config import NonNegative, NonNegativeCount, config, load, parse, read_tree
from mmcontrast.errors import ConfigError, did_you_mean
from mmcontrast.evaluate.suite import Suite, metric_names
from mmcontrast.run import Run

BASELINE = "baseline"


@config
class Mending:
    """The baselines of several seeds, each post-trained in several ways, and what is expected of that.

    Metrics are named ``EVALUATOR.METRIC``, evaluators as the suite names them.
    """

    base: Path  # config of the baseline; relative to this file
    posttrain: dict[str, Path]  # name -> config of a run that starts from the baseline's towers; relative to this file
    out: Path  # folder of the probes, the runs and the report
    probes: dict[str, tuple[str, ...]] = {}  # name -> what 'mmcontrast probe make' is given; made as out/probes/NAME
    suite: Path  # probes and what must be kept; relative to this file; may say {probes} for the folder of probes
    rise: dict[str, tuple[str, ...]]  # name of a post-training -> metrics that it should raise
    keep: dict[str, tuple[str, ...]] = {}  # name of a post-training -> metrics that it should not lower
    rise_points: NonNegative = 15.0  # by so many points
    keep_points: NonNegative = 2.0  # by more than so many points
    seeds: tuple[NonNegativeCount, ...] = (0, 1, 2)
    baselines: dict[str, Path] = {}  # seed -> folder of a finished run of the base; other seeds are trained

    def __post_init__(self) -> None:
        if not self.posttrain or BASELINE in self.posttrain:
            raise ValueError(f"posttrain: name one or more configs, none of them '{BASELINE}'.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: give one or more different numbers.")
        for name in (*self.rise, *self.keep):
            if name not in self.posttrain:
                raise ValueError(f"rise, keep: '{name}' is no post-training.{did_you_mean(name, self.posttrain)}")
        for seed in self.baselines:
            if seed not in map(str, self.seeds):
                raise ValueError(f"baselines: '{seed}' is not among the seeds.")

    def folder(self, name: str, seed: int) -> Path:
        """Folder of one run."""
        given = self.baselines.get(str(seed)) if name == BASELINE else None
        return given or self.out / name / f"seed-{seed}"


def read_mending(path: Path, overrides: list[str] | None = None) -> Mending:
    """Read a mending's config.

    Raises:
        ConfigError: every problem found in it.
    """
    return load(Mending, path, overrides)


def runs_of(mending: Mending, *, beside: Path) -> dict[tuple[str, int], Run]:
    """The run of each seed: its baseline, and each post-training, which starts from the baseline's towers.

    Args:
        beside: folder that configs are relative to.

    Raises:
        ConfigError: a config cannot be read, or names no tower that starts from the baseline.
    """
    runs = {}
    for seed in mending.seeds:
        runs[BASELINE, seed] = _run(read_tree(beside / mending.base), mending, BASELINE, seed)
        for name, path in mending.posttrain.items():
            tree = read_tree(beside / path)
            training = tree.get("model", {}).get("training", {})
            started = [modality for modality, fields in training.items() if "weights" in fields]
            if not started:
                raise ConfigError(
                    f"{beside / path}: no tower starts from the baseline: give model.training.MODALITY.weights "
                    "any path; a mending puts the baseline's there."
                )
            for modality in started:
                training[modality]["weights"] = str(mending.folder(BASELINE, seed))
            runs[name, seed] = _run(tree, mending, name, seed)
    return runs


def _run(tree: dict[str, Any], mending: Mending, name: str, seed: int) -> Run:
    return parse(Run, {**tree, "seed": seed, "out": str(mending.folder(name, seed))}, where=f"{name}, seed {seed}")


def check_metrics(mending: Mending, suite: Suite) -> None:
    """See that every expectation names a metric of the suite.

    Raises:
        ConfigError: one that does not.
    """
    known = metric_names(suite)
    asked = [each for group in (mending.rise, mending.keep) for metrics in group.values() for each in metrics]
    wrong = [f"  {each}{did_you_mean(each, known)}" for each in dict.fromkeys(asked) if each not in known]
    if wrong:
        raise ConfigError("rise and keep name metrics that no evaluator of the suite gives:\n" + "\n".join(wrong))
