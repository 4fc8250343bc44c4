"""What every head offers, and what it says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmcontrast.downstream.towers import Towers
from mmcontrast.downstream.triplets import Triplets, triplets_of
from mmcontrast.errors import HeadError
from mmcontrast.evaluate.encoder import TowerEncoder

Kind = Literal["classifier", "composer", "prior"]


@dataclass(frozen=True, kw_only=True)
class About:
    """What a head belongs to, and the sizes that its weights have."""

    dim: int
    model: str  # where it was when the head was trained
    towers: dict[str, str]  # digest of each tower of that model
    classes: tuple[str, ...] = ()
    modality: str | None = None  # the only one that it is used on; None: any
    sizes: dict[str, int] = field(default_factory=dict)  # that the config does not tell
    trained_on: tuple[dict[str, Any], ...] = ()  # facts of the sources

    @classmethod
    def of(cls, towers: Towers, *facts: dict[str, Any], **fields: Any) -> About:
        """What a head of these towers says of itself.

        Args:
            facts: of each source that it was trained on.
        """
        return cls(dim=towers.embedder.dim, model=towers.location, towers=towers.digests, trained_on=facts, **fields)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Rows that a head is judged by."""

    source: str
    modality: str | None = None  # None: the head's own
    label: str | None = None  # field of the class; None: the one that the head was trained on
    where: dict[str, str] = field(default_factory=dict)  # keep rows whose fields have these values
    probe_source: str | None = None  # rows of the modality for a linear probe beside the head
    triplets: Path | None = None  # JSON lines of reference, text and target; None: those of the source's reader
    keep: str | None = None  # draw triplets that keep this field; None: as in training, unless triplets are named


class Head(nn.Module):
    """A small model on frozen embeddings."""

    kind: ClassVar[Kind]

    class Config:
        """Fields of the head; each subclass has its own."""

    def __init__(self, config: Any, *, about: About) -> None:
        super().__init__()
        self.config, self.about = config, about

    @classmethod
    def learn(cls, config: Any, towers: Towers) -> Self:
        """Train one; the same config, model and rows give the same weights.

        Raises:
            HeadError: nothing can be learned from these rows.
        """
        raise NotImplementedError

    def judge(self, towers: Towers, judged: Judged) -> dict[str, float]:
        """Measure it on other rows, beside what does without it; the last entry counts the rows."""
        raise NotImplementedError

    def check_towers(self, digests: dict[str, str], *modalities: str, where: str) -> None:
        """Refuse points of other towers.

        Raises:
            HeadError: names the tower.
        """
        for name in modalities:
            if name not in digests:
                raise HeadError(f"'{where}' has no {name} tower; it has: {', '.join(digests)}.")
            if digests[name] != self.about.towers.get(name):
                raise HeadError(
                    f"this head was trained on '{self.about.model}', whose {name} tower is not that of '{where}'. "
                    "Train it again on this model, or name that one."
                )


class Classifier(Head):
    """Scores of classes for embeddings."""

    kind: ClassVar[Kind] = "classifier"

    def scores(self, z: Float[Tensor, "B D"], modality: str) -> Float[Tensor, "B C"]:
        """Scores of every class; the largest is the answer.

        Args:
            modality: whose points these are.
        """
        raise NotImplementedError

    def judge(self, towers: Towers, judged: Judged) -> dict[str, float]:
        """Top-1 accuracy beside zero-shot, a constant and, if asked for, a linear probe."""
        from mmcontrast.downstream.judging import judge_classifier

        return judge_classifier(self, towers, judged)

    def check_modality(self, modality: str) -> None:
        """Refuse a modality that the head was not made for.

        Raises:
            HeadError: names the right one.
        """
        if self.about.modality not in (None, modality):
            raise HeadError(f"this head is made for {self.about.modality}, not for {modality}.")


@dataclass(frozen=True)
class Said:
    """Texts of change: the strings, their points, and the model whose text tower reads them."""

    texts: Sequence[str]
    points: Float[Tensor, "B D"]
    encoder: TowerEncoder


class Composer(Head):
    """One point for a reference and a text.  Its config has source, triplets, keep, modality and seed."""

    kind: ClassVar[Kind] = "composer"

    def composed(self, reference: Float[Tensor, "B D"], said: Said) -> Float[Tensor, "B D"]:
        """Points that are compared with those of the targets."""
        raise NotImplementedError

    @classmethod
    def sizes(cls, config: Any, encoder: TowerEncoder) -> dict[str, int]:
        """Sizes of weights that the config and the width of the embedding do not tell.

        Raises:
            HeadError: the head cannot be made for these towers.
        """
        return {}

    def fit(self, z: Float[Tensor, "N D"], said: Said, triplets: Triplets) -> None:
        """Train on triplets.

        Args:
            z: points of the rows that triplets name.
            said: the triplets' texts.
        """
        raise NotImplementedError

    @classmethod
    def learn(cls, config: Any, towers: Towers) -> Self:
        """Train on triplets.

        Raises:
            HeadError: there are none, or all have one target; the head cannot be made for these towers.
        """
        rows = towers.rows(config.source, (config.modality,)).having(config.modality)
        triplets = triplets_of(rows, file=config.triplets, keep=config.keep, seed=config.seed)
        if len(set(triplets.targets)) < 2:
            raise HeadError(f"all {len(triplets)} triplets have one target: there is nothing to tell apart.")
        encoder = towers.embedder.encoder
        about = About.of(towers, rows.facts, modality=config.modality, sizes=cls.sizes(config, encoder))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            head = cls(config, about=about)
            head.fit(rows.z[config.modality], Said(triplets.texts, towers.texts(triplets.texts), encoder), triplets)
        return head.eval().requires_grad_(False)

    def judge(self, towers: Towers, judged: Judged) -> dict[str, float]:
        """Recall of the target beside the plain sum and each part alone."""
        from mmcontrast.downstream.judging_composers import judge_composer

        return judge_composer(self, towers, judged)


class Prior(Head):
    """A point of another modality for a text's."""

    kind: ClassVar[Kind] = "prior"

    def sampled(self, text: Float[Tensor, "B D"], *, seed: int = 0) -> Float[Tensor, "B D"]:
        """Likely points of the head's modality."""
        raise NotImplementedError
