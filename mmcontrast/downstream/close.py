"""CLOSE: a classifier that is trained on texts alone and used on pictures or sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmcontrast.config import Count, NonNegative, NonNegativeCount, Positive, config
from mmcontrast.downstream import DOWNSTREAM
from mmcontrast.downstream.base import About, Classifier
from mmcontrast.downstream.descent import descend
from mmcontrast.downstream.gap import Closing, GapAdapter
from mmcontrast.downstream.towers import EmbeddedRows, Towers
from mmcontrast.errors import HeadError
from mmcontrast.evaluate.names import prompt_set
from mmcontrast.evaluate.supervised import label_ids
from mmcontrast.export.embedded import texts_of


@DOWNSTREAM.register("close")
class Close(Classifier):
    """A linear or one-layer classifier learned on noised text embeddings, applied to another modality's.

    Cross-entropy over texts of known class; before each step their points are adapted to the other modality if pairs
    are given, get fresh Gaussian noise and are scaled to length 1 again.

    Source: Gu, Clark & Kembhavi 2022, arXiv:2211.09778 (CLOSE), section 3; their tasks are captioning, entailment and
    questions with a language model on top: a classifier is the simplest such head.
    """

    @config
    class Config:
        """Fields of the head."""

        source: str | None = None  # rows whose texts are learned from: embeddings, or anything that embed reads
        label: str = "label"  # field of the class
        text_field: str | None = None  # field of the texts, all of which are used; null: the first usual one
        where: dict[str, str] = {}  # keep rows whose field has this value
        captions: Path | None = None  # in place of source: a json file {class: [texts]}
        noise: NonNegative = 0.08  # scale of the noise on each coordinate of a unit vector, the paper's
        gap: Closing = "none"  # what is learned from pairs: nothing, a shift, a linear map, or the noise itself
        pairs: str | None = None  # rows with texts and the modality, of any class
        modality: Literal["image", "audio"] = "image"  # of the pairs; with a gap, the head is for it alone
        hidden: NonNegativeCount = 0  # width of a hidden layer; 0: none
        prompts: tuple[str, ...] = ("{}",)  # of the zero-shot classifier that eval compares with; {} is the class
        steps: Count = 500
        batch_rows: Count = 256
        lr: Positive = 1e-2
        weight_decay: NonNegative = 1e-4
        seed: int = 0  # of rows, noise and weights

        def __post_init__(self) -> None:
            if (self.source is None) == (self.captions is None):
                raise ValueError("give either source or captions.")
            if (self.gap == "none") != (self.pairs is None):
                raise ValueError("a gap is measured on pairs: give both gap and pairs, or neither.")

    def __init__(self, config: Any, *, about: About) -> None:
        super().__init__(config, about=about)
        self.gap = GapAdapter(about.dim)
        classes = len(about.classes)
        if config.hidden:
            self.layers = nn.Sequential(
                nn.Linear(about.dim, config.hidden), nn.ReLU(), nn.Linear(config.hidden, classes)
            )
        else:
            self.layers = nn.Sequential(nn.Linear(about.dim, classes))

    @classmethod
    def learn(cls, config: Any, towers: Towers) -> Self:
        """Embed the texts, measure the gap, and train.

        Raises:
            HeadError: one class alone, no texts, or too few pairs.
        """
        texts, names, facts = _texts(config, towers)
        classes = tuple(sorted(set(names)))
        if len(classes) < 2:
            raise HeadError(f"all {len(names):,} texts are of class '{classes[0]}': a classifier needs two.")
        text = target = None
        if config.pairs is not None:
            pairs = towers.rows(config.pairs, (config.modality,)).having(config.modality)
            text, target = paired(pairs, config.modality, towers)
            facts.append(pairs.facts)
        modality = None if config.gap == "none" else config.modality
        about = About.of(towers, *facts, classes=classes, modality=modality)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            head = cls(config, about=about)
        head.gap.fit(config.gap, scale=config.noise, text=text, target=target)
        head._train(towers.texts(texts), label_ids(list(classes), names))
        return head.eval().requires_grad_(False)

    def _train(self, z: Tensor, labels: Tensor) -> None:
        generator, config = torch.Generator().manual_seed(self.config.seed), self.config
        adapted = self.gap(z)

        def loss() -> Tensor:
            rows = torch.randint(0, len(z), (config.batch_rows,), generator=generator)
            return cross_entropy(self.layers(self.gap.noised(adapted[rows], generator)), labels[rows])

        descend(self.layers.parameters(), loss, steps=config.steps, lr=config.lr, weight_decay=config.weight_decay)

    def scores(self, z: Float[Tensor, "B D"], modality: str) -> Float[Tensor, "B C"]:
        """Scores of every class; texts pass the map that they were trained with."""
        found: Tensor = self.layers(self.gap(z) if modality == "text" else z)
        return found

    def check_modality(self, modality: str) -> None:
        """Texts are always understood."""
        if modality != "text":
            super().check_modality(modality)


def _texts(config: Any, towers: Towers) -> tuple[list[str], list[str], list[dict[str, Any]]]:
    """Texts, the class of each, and facts of where they come from."""
    if config.captions is not None:
        found = prompt_set(str(config.captions))
        if found.of_class is None:
            raise HeadError(f"'{config.captions}' holds a list of templates; expected a map from class to texts.")
        pairs = [(text, name) for name, texts in found.of_class.items() for text in texts]
        facts = {"name": str(config.captions), "sha256": found.sha256()}
    else:
        rows = towers.rows(config.source).where(config.where)
        pairs = [
            (text, name)
            for fields, name in zip(rows.fields, rows.field(config.label), strict=True)
            for text in texts_of(fields, config.text_field)
        ]
        facts = rows.facts
    pairs = list(dict.fromkeys(pairs))  # pictures of one thing share their captions
    if not pairs:
        raise HeadError(f"no row of '{config.source}' has a text; name its field: text_field.")
    return [text for text, _ in pairs], [name for _, name in pairs], [facts]


def paired(rows: EmbeddedRows, modality: str, towers: Towers) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N D"]]:
    """Points of the first text of each row that has one, and of its picture or sound.

    Raises:
        HeadError: no row has a text.
    """
    texts = {number: found[0] for number, fields in enumerate(rows.fields) if (found := texts_of(fields, None))}
    if not texts:
        raise HeadError(f"no row of '{rows.source}' has a text.")
    return towers.texts(list(texts.values())), rows.z[modality][torch.tensor(list(texts))]
