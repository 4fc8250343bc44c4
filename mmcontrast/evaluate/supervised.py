"""What trained probes share: rows with classes, official folds, and a result of held-out rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmcontrast.data.source import stable_hash
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate.base import Metric, PerItem, mean_of, proportion
from mmcontrast.evaluate.bench import Bench, Rows
from mmcontrast.evaluate.classifier import classes_of


@dataclass(frozen=True)
class Labelled:
    """Rows with their classes and embeddings."""

    rows: Rows
    z: dict[str, Tensor]  # encoder -> (N, D)
    names: list[str]  # class of each row
    clusters: list[str]  # rows of equal value are not independent, and stay on one side of a split


@dataclass(frozen=True)
class Fold:
    """Rows to learn from and rows to be judged by; ``held`` are those of ``known`` that choose between learners."""

    name: str
    known: Labelled
    train: Tensor  # row numbers of ``known``
    held: Tensor
    judged: Labelled
    test: Tensor  # row numbers of ``judged``


def read(bench: Bench, config: Any, source: str, where: dict[str, str]) -> Labelled:
    """Embed one source and read its classes; the modality ``text`` embeds a field."""
    if config.modality == "text":
        rows = bench.rows(source, where)
        z = bench.texts(rows.field(config.text_field))
    else:
        rows, z = bench.media(source, where, config.modality)
    clusters = rows.field(config.cluster) if config.cluster else rows.keys()
    return Labelled(rows, z, rows.field(config.label), clusters)


def folds_of(bench: Bench, config: Any) -> tuple[list[str], list[Fold]]:
    """Classes, and one fold for a training source, or one for each value of the fold field.

    Raises:
        ConfigError: neither is given, or a class of the judged rows is never learned.
    """
    judged = read(bench, config, config.source, config.where)
    if config.train_source is not None:
        known = read(bench, config, config.train_source, config.train_where)
        parts = [("test", known, torch.arange(len(known.names)), torch.arange(len(judged.names)))]
    elif config.fold is not None:
        values = judged.rows.field(config.fold)
        names = sorted(set(values), key=lambda value: (len(value), value))
        if len(names) < 2:
            raise ConfigError(f"'{judged.rows.source}': one fold alone in '{config.fold}'.")
        known = judged
        member = {name: torch.tensor([value == name for value in values]) for name in names}
        parts = [
            (f"fold {name}", known, (~member[name]).nonzero().squeeze(1), member[name].nonzero().squeeze(1))
            for name in names
        ]
    else:
        raise ConfigError(
            "there are no rows to learn from: give train_source (from-embeddings: --train FILE), or fold, a field of "
            "official folds."
        )
    classes = classes_of(judged.rows, judged.names)
    learned = set(known.names)
    unseen = sorted(set(judged.names) - learned)
    if unseen:
        raise ConfigError(f"'{judged.rows.source}': no row to learn class '{unseen[0]}' from.")
    classes = sorted({*classes, *learned}) if not learned <= set(classes) else classes
    return classes, [_fold(name, known, train, judged, test) for name, known, train, test in parts]


def _fold(name: str, known: Labelled, train: Tensor, judged: Labelled, test: Tensor) -> Fold:
    """Hold out one cluster in five of the training rows, by the hash of its name."""
    flags = torch.tensor([stable_hash("held", known.clusters[int(row)]) % 5 == 0 for row in train])
    if flags.all() or not flags.any():  # very few clusters
        flags = torch.arange(len(train)) % 5 == 0
    return Fold(name, known, train[~flags], train[flags], judged, test)


def label_ids(classes: list[str], names: list[str]) -> Tensor:
    """Class numbers."""
    place = {name: number for number, name in enumerate(classes)}
    return torch.tensor([place[name] for name in names])


def cluster_ids(names: list[str]) -> Tensor:
    """Numbers of clusters."""
    return torch.from_numpy(np.unique(names, return_inverse=True)[1])


def over_folds(hits: list[Tensor], folds: list[Fold], *, chance: float, controls: dict[str, float]) -> Metric:
    """Mean of the folds' accuracies, with an interval over clusters of rows."""
    names = [fold.judged.clusters[int(row)] for fold in folds for row in fold.test]
    clusters = cluster_ids(names)
    if len(folds) == 1:
        return proportion(hits[0], chance=chance, controls=controls, clusters=clusters)
    total = sum(len(each) for each in hits)
    weighted = torch.cat([each.double() * total / (len(folds) * len(each)) for each in hits])
    found = mean_of(weighted, clusters=clusters, controls=controls)
    return Metric(
        value=found.value, low=found.low, high=found.high, method=f"mean of {len(folds)} folds, {found.method}",
        count=found.count, chance=chance, controls=controls,
    )  # fmt: skip


def majority(folds: list[Fold], classes: list[str]) -> float:
    """Mean accuracy over folds of always answering the class most frequent in training."""
    shares = []
    for fold in folds:
        ids = label_ids(classes, fold.known.names)
        common = torch.bincount(ids[torch.cat([fold.train, fold.held])], minlength=len(classes)).argmax()
        truth = label_ids(classes, fold.judged.names)[fold.test]
        shares.append(float((truth == common).double().mean()))
    return sum(shares) / len(shares)


def unused(folds: list[Fold]) -> list[str]:
    """Rows that did not decode, judged or learned from."""
    return list(dict.fromkeys([*folds[0].judged.rows.missing, *folds[0].known.rows.missing]))


def per_row(folds: list[Fold], values: dict[str, Tensor]) -> list[PerItem]:
    """Results of the judged rows in the order of the folds.

    Args:
        values: metric -> (N,) one number a judged row.
    """
    judged, order = folds[0].judged, [int(row) for fold in folds for row in fold.test]
    return [
        PerItem(
            keys=[judged.rows.items[row].key for row in order],
            values={name: each.tolist() for name, each in values.items()},
            clusters=[judged.clusters[row] for row in order],
        )
    ]
