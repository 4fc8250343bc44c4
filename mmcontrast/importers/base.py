"""What every importer offers: read a checkpoint of others, say what each weight is here, run the peer beside ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from mmcontrast.errors import CheckpointError
from mmcontrast.export.base import Read, command_name
from mmcontrast.export.key_map import KeyMap, first_fit
from mmcontrast.export.part import Part
from mmcontrast.packages import check_installed
from mmcontrast.weight_files import read_tensors

NOT_ASKED = "of a tower that was not asked for"
SCALE = "what similarities are multiplied with, or added to them; an objective's"
POSITIONS = "0, 1, 2 and so on"


@dataclass(frozen=True, kw_only=True)
class Tower:
    """One tower of the checkpoint."""

    tower: Any  # config of a registered tower
    head: Any  # config of a registered head
    key_map: KeyMap  # their names in the file -> names in the tower, as "tower.X", and in the head, as "head.X"


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A checkpoint of others before anything is built of it."""

    towers: dict[str, Tower]  # by modality
    dim: int  # width of the shared embedding
    state: Mapping[str, Tensor]  # as the file has it
    files: Sequence[Path]  # that the weights come from
    left_out: Mapping[str, str] = field(default_factory=dict)  # pattern of their names -> why it is not needed
    computed: Sequence[str] = ()  # patterns of our names that follow from sizes; filled in where a file lacks them
    logit_scale: float | None = None  # logarithm of what similarities are multiplied with
    logit_bias: float | None = None  # added to them (SigLIP)
    notes: Sequence[str] = ()  # what a user should know, a sentence each


class Importer:
    """One layout.  A subclass has a nested ``Config``; its fields are what ``--set key=value`` sets."""

    modalities: tuple[str, ...] = ("image", "text")
    packages: tuple[str, ...] = ()  # without which the checkpoint cannot be read
    extra: str = "hf"  # which installs them
    tolerance = 1e-5  # largest difference of any coordinate of a unit vector to the peer's

    class Config:
        """Fields of the importer; each subclass has its own."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def check_packages(self) -> None:
        """Refuse a layout whose packages are not installed.

        Raises:
            MissingPackage: names the extra to install.
        """
        check_installed(self.packages, who=importer_name(self), extra=self.extra)

    def read(self, path: Path, modalities: Sequence[str], scratch: Path) -> Draft:
        """Read a checkpoint.

        Args:
            modalities: towers that are wanted, some of :attr:`modalities`.
            scratch: an empty folder for files that towers name, such as configs and vocabularies; they are copied.

        Raises:
            CheckpointError: it is damaged, or something else.
        """
        raise NotImplementedError

    def peer(self, path: Path, part: Part) -> tuple[str, Read]:
        """The peer's own forward from the same file: its package's name and version, and a reader for each modality.

        Raises:
            MissingPackage: it is not installed.
        """
        raise NotImplementedError


def importer_name(importer: Importer) -> str:
    """As the command line writes it."""
    return command_name(importer.config.registry_name)


def find_weights(path: Path, names: Sequence[str]) -> list[Path]:
    """A file itself, or a folder's files of weights.

    Args:
        names: patterns of file names in a folder; the first that any file has counts.

    Raises:
        CheckpointError: there are none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise CheckpointError(f"'{path}' does not exist.")
    for name in names:
        found = sorted(path.glob(name))
        if found:
            return found
    raise CheckpointError(f"'{path}' holds no weights; expected {' or '.join(names)}.")


def find_file(path: Path, name: str) -> Path:
    """A file itself, or the one file of weights of a folder.

    Args:
        name: pattern of file names in a folder.

    Raises:
        CheckpointError: there is none, or there are several.
    """
    files = find_weights(path, (name,))
    if len(files) > 1:
        raise CheckpointError(f"'{path}' holds several checkpoints; name one, such as '{files[0]}'.")
    return files[0]


def count_of(state: Mapping[str, Tensor], prefix: str) -> int:
    """Layers of a list: one more than the largest number behind a prefix; 0 where no name begins with it."""
    numbers = (int(name[len(prefix) :].partition(".")[0]) for name in state if name.startswith(prefix))
    return 1 + max(numbers, default=-1)


def read_weights(files: Sequence[Path]) -> dict[str, Tensor]:
    """Tensors of one file, or of the parts of a large model.

    Raises:
        CheckpointError: a file is damaged, or two hold the same name.
    """
    state: dict[str, Tensor] = {}
    for file in files:
        found = read_tensors(file)
        twice = sorted(state.keys() & found.keys())
        if twice:
            raise CheckpointError(f"'{file}' holds '{twice[0]}', which another file of the same model holds too.")
        state |= found
    return state


def read_json(file: Path) -> dict[str, Any]:
    """A JSON file that holds a map.

    Raises:
        CheckpointError: it is missing, or is none.
    """
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"'{file}' does not read: {error}") from error
    if not isinstance(tree, dict):
        raise CheckpointError(f"'{file}' should hold a map, not a {type(tree).__name__}.")
    return tree


def scalar(state: Mapping[str, Tensor], name: str) -> float | None:
    """A single number of a state dict, or None where it has none."""
    return float(state[name].float().reshape(-1)[0]) if name in state and state[name].numel() == 1 else None


def why_left_out(draft: Draft, name: str) -> str | None:
    """Why a weight of theirs is not needed, or None."""
    pattern = first_fit(list(draft.left_out), name)
    return None if pattern is None else draft.left_out[pattern]
