"""The errors a user can cause.  The command line prints them as one message and exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MMContrastError(Exception):
    """A mistake of the user's: what, where, what was expected, what to do."""

    on_every_rank = False  # every rank raises the same one, so that one rank says it
    exit_code = 2


class ConfigError(MMContrastError):
    """A config file, key or value that cannot be used.  Holds every problem found, one a line."""


class NeedsError(MMContrastError):
    """Something reads a column, label or tower that nothing provides."""


class WindowTooShort(NeedsError):
    """Sounds that a probe asks about are longer than what the audio tower hears: the suite goes on without it."""


class NoDecoder(NeedsError):
    """Captions are asked of a model that was not trained to write any: the suite goes on without them."""


class ShardError(MMContrastError):
    """A manifest or shard that is missing, damaged, or not what its manifest says."""


class BadSamples(ShardError):
    """More bad samples than the budget allows."""


class RunFolderError(MMContrastError):
    """A run folder that cannot be written, or that belongs to another config."""


class CheckpointError(MMContrastError):
    """A checkpoint that is missing, damaged, or made by another config."""


class ExportError(MMContrastError):
    """A tower that a format cannot hold, a target that refuses a file, or one that computes something else."""


class SearchError(MMContrastError):
    """An index that is damaged, of another model or width, or asked for what it does not hold."""


class HeadError(MMContrastError):
    """A downstream head that is damaged or of another model, or rows that it cannot be trained or judged on."""


class MissingData(MMContrastError):
    """Files of an evaluation that are not there, or hold no rows."""


class MetricError(MMContrastError):
    """Scores, embeddings or labels that no metric can be made of: NaN, wrong sizes, nothing to be right about."""


class MissingPackage(MMContrastError):
    """A feature whose optional package is not installed; names the extra to install."""


class SkipSample(MMContrastError):
    """One bad sample: counted by cause and logged by key, never fatal by itself."""

    row: int | None = None  # position in its set, where a source drew it

    def __init__(self, message: str, *, cause: str = "other", lasting: bool = True) -> None:
        """Describe it.

        Args:
            cause: what went wrong in one or two words of snake_case, for counting.
            lasting: the content is bad, and will be at every try; False for failures of reading.
        """
        super().__init__(message)
        self.cause, self.lasting = cause, lasting


class EvaluationFailed(MMContrastError):
    """An evaluator failed while its model was trained, and the policy says stop."""


class LaunchError(MMContrastError):
    """Ranks that do not find each other, or launcher variables that make no sense."""


class Diverged(MMContrastError):
    """The loss or a gradient stopped being finite, or jumped, and the policy says stop."""


class RankLost(MMContrastError):
    """A rank of the job is dead, stopped or stuck; the same command goes on from the newest checkpoint."""

    exit_code = 76


class WorkerLost(MMContrastError):
    """A loader worker was killed or is stuck; the same command goes on from the newest checkpoint."""

    exit_code = 76


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, else an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
