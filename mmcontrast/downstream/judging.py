"""Classifier heads on rows that they have not seen, beside what needs no head."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcontrast.downstream.base import Classifier, Judged
from mmcontrast.downstream.towers import EmbeddedRows, Towers
from mmcontrast.errors import HeadError, did_you_mean
from mmcontrast.evaluate.classifier import class_means
from mmcontrast.evaluate.learners.logistic import fit_logistic, sweep
from mmcontrast.evaluate.names import PromptSet
from mmcontrast.evaluate.supervised import label_ids


def class_prompts(towers: Towers, classes: tuple[str, ...], templates: tuple[str, ...]) -> Tensor:
    """A point for each class, of its prompts: (C, D)."""
    prompts = PromptSet("own", templates)
    texts = [prompts.prompts(name.replace("_", " ")) for name in classes]
    points = towers.texts([text for each in texts for text in each])
    return class_means(points, [len(each) for each in texts], towers.embedder.encoder.geometry)


def judge_classifier(head: Classifier, towers: Towers, judged: Judged) -> dict[str, float]:
    """Top-1 accuracy of the head, of zero-shot with its prompts, of the most frequent class, of a linear probe.

    Raises:
        HeadError: another model; a modality or a class that the head does not know.
    """
    modality = judged.modality or head.about.modality or "image"
    head.check_modality(modality)
    head.check_towers(towers.digests, modality, where=towers.location)
    classes, label = list(head.about.classes), judged.label or head.config.label
    rows = towers.rows(judged.source, (modality,)).where(judged.where).having(modality)
    truth, z = _truth(rows, classes, label), rows.z[modality]
    found = {"head": head.scores(z, modality)}
    if "text" in towers.digests:
        found["zero_shot"] = z @ class_prompts(towers, head.about.classes, head.config.prompts).T
    if judged.probe_source is not None:
        found["linear_probe"] = _probe(towers, judged.probe_source, classes, label, modality, z)
    result = {name: float((scores.argmax(dim=1) == truth).double().mean()) for name, scores in found.items()}
    result["majority"] = float(torch.bincount(truth).max() / len(truth))
    return result | {"rows": len(truth)}


def _truth(rows: EmbeddedRows, classes: list[str], label: str) -> Tensor:
    names = rows.field(label)
    unknown = sorted(set(names) - set(classes))
    if unknown:
        raise HeadError(
            f"'{rows.source}': the head does not know class '{unknown[0]}'.{did_you_mean(unknown[0], classes)} "
            f"It knows {len(classes)}: {', '.join(classes[:8])}{', ...' if len(classes) > 8 else ''}."
        )
    return label_ids(classes, names)


def _probe(towers: Towers, source: str, classes: list[str], label: str, modality: str, z: Tensor) -> Tensor:
    """Scores of a linear probe that learned from rows of the modality itself, those with a class."""
    rows = towers.rows(source, (modality,)).having(modality)
    rows = rows.taken([number for number, fields in enumerate(rows.fields) if fields.get(label) is not None])
    if not len(rows):
        raise HeadError(f"no row of '{source}' has the field '{label}', which a probe learns.")
    truth, known = _truth(rows, classes, label), rows.z[modality]
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(0))
    held, train = order[: len(order) // 5], order[len(order) // 5 :]
    chosen = sweep(known[train], truth[train], known[held], truth[held], classes=len(classes))
    fitted = fit_logistic(known, truth, classes=len(classes), inverse_strength=chosen.inverse_strength)
    return fitted.scores(z)
