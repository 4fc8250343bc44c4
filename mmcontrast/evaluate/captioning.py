"""Captions of pictures or sounds against references: the model's own, those of a file, or the nearest of a bank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmcontrast.config import Count, NonNegativeCount, config
from mmcontrast.errors import ConfigError, MissingData
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import (
    Evaluator,
    Example,
    Metric,
    PerItem,
    Report,
    Shown,
    mean_of,
    shuffled,
    spread_out,
    worst,
)
from mmcontrast.evaluate.bench import Bench, Rows
from mmcontrast.evaluate.metrics.captions import BleuCounts, bleu_counts, cider_d, rouge_l, words_of
from mmcontrast.evaluate.metrics.ranks import TILE_CELLS
from mmcontrast.evaluate.readers.base import existing, read_json
from mmcontrast.evaluate.writing import written

NOTHING = "(nothing)"  # stands in reports for an empty caption
DRAWS = 500  # of the bootstrap of BLEU


@EVALUATORS.register("captioning")
class Captioning(Evaluator):
    """CIDEr-D, ROUGE-L and BLEU-4 of one caption a row against the row's references.

    With ``decoder`` the model writes them itself: the decoder of its objective ``captioning`` (CoCa, CapPa), by beam
    search.  With ``bank`` every row gets the caption of that source whose embedding is nearest to its own, which any
    two towers can do.  With ``predictions`` the captions are those of a file in COCO's result format, a list of
    ``image_id`` and ``caption``, whichever model wrote them; the evaluated encoder is not used.

    Words are lower-cased and stripped of punctuation here, where the COCO evaluation runs the Penn Treebank's
    tokenizer in Java: scores differ a little.  METEOR and SPICE need Java programs and are not computed.

    Source: Chen et al. 2015, arXiv:1504.00325 (COCO caption evaluation); Yu et al. 2022, arXiv:2205.01917 (CoCa).
    """

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # rows with references
        captions_field: str = "captions"  # field with the references, a string or a list of them
        predictions: str | None = None  # json in COCO's result format
        key: str | None = None  # field that image_id equals; null: the row's key
        bank: str | None = None  # source of captions to retrieve from
        decoder: str | None = None  # name of the run's objective whose decoder writes the captions
        beams: Count = 4  # of a decoder: beginnings of a caption that go on at each token; 1: greedy
        longest: Count = 30  # of a decoder: tokens at most
        bank_field: str = "captions"  # field of the bank's captions
        modality: str = "image"  # of the rows, where the model finds or writes the captions: image or audio
        where: dict[str, str] = {}  # keep rows whose field has this value
        bank_where: dict[str, str] = {}  # the same for the bank
        examples: NonNegativeCount = 9  # rows shown in reports
        draws: NonNegativeCount = DRAWS  # of the bootstrap of BLEU; 0: no interval
        title: str = ""  # heading in reports

        def __post_init__(self) -> None:
            if sum(each is not None for each in (self.predictions, self.bank, self.decoder)) != 1:
                raise ValueError("give predictions (a file), bank (a source) or decoder (an objective), one of them.")

    @classmethod
    def modalities(cls, config: Any) -> tuple[str, ...]:
        """What the model must be able to encode: nothing for a file."""
        return () if config.predictions is not None else (config.modality, "text")

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return ("CIDEr", "ROUGE-L", "BLEU-4")

    def run(self, bench: Bench) -> Report:
        """Score the captions, and the controls beside them."""
        config = self.config
        rows, kept, captions, missing = _captions(bench, config)
        references = [_references(value, rows, config) for value in _chosen(rows.values(config.captions_field), kept)]
        own = [[words_of(text) for text in each] for each in references]
        found = _Scored.of(captions["trained"], own)
        order = shuffled(torch.arange(len(kept))).tolist()
        controls = {
            "shuffled": _Scored.of(_chosen(captions["trained"], order), own),
            "constant": _Scored.of([captions["trained"][0]] * len(kept), own),
            **{who: _Scored.of(each, own) for who, each in captions.items() if who != "trained"},
        }
        keys, empty = _chosen(rows.keys(), kept), captions["trained"].count("")

        def shown(numbers: list[int]) -> list[Example]:
            if config.modality not in rows.collection.modalities:
                return []
            return [
                Example(
                    query=rows.shown(kept[each], config.modality, caption=" / ".join(references[each][:2])),
                    answers=[
                        Shown(
                            kind="text", caption=captions["trained"][each] or NOTHING, score=float(found.cider[each])
                        )
                    ],
                    rank=0,
                )
                for each in numbers
            ]

        return self.report(
            metrics=found.metrics(controls, draws=config.draws),
            num_rows=len(kept),
            missing=rows.missing + missing,
            notes=[f"{empty:,} of {len(kept):,} captions are empty"] if empty else [],
            facts={
                "captions": _origin(config),
                "references_per_row": sum(map(len, references)) / len(references),
                "different_captions": len(set(captions["trained"])),
                "tokenizer": "lower-case words without punctuation",
                "not_computed": "METEOR and SPICE: they need Java",
            },
            gallery=shown(spread_out(len(kept), config.examples)),
            failures=shown(worst(-found.cider, found.cider < found.cider.median(), config.examples)),
            per_item=[
                PerItem(
                    keys=keys,
                    values={"CIDEr": found.cider.tolist(), "ROUGE-L": found.rouge.tolist()},
                    clusters=keys,
                )
            ],
        )


def _captions(bench: Bench, config: Any) -> tuple[Rows, list[int], dict[str, list[str]], list[str]]:
    """The rows, numbers of those with a caption, each encoder's captions, and a message for what was left alone."""
    if config.predictions is not None:
        rows = bench.rows(config.source, config.where)
        kept, captions, missing = _from_file(rows, config, bench)
        return rows, kept, {"trained": captions}, missing
    if config.bank is not None:
        rows, found = _from_bank(bench, config)
    else:
        rows, found = written(
            bench,
            config.source,
            config.where,
            config.modality,
            decoder=config.decoder,
            beams=config.beams,
            longest=config.longest,
        )
    return rows, list(range(len(rows.items))), found, []


def _origin(config: Any) -> str:
    if config.decoder is not None:
        return f"written by the decoder '{config.decoder}', {config.beams} beams, {config.longest} tokens at most"
    return config.predictions or f"nearest of '{config.bank}'"


class _Scored:
    """One list of captions with its scores."""

    def __init__(self, cider: Tensor, rouge: Tensor, bleu: BleuCounts) -> None:
        self.cider, self.rouge, self.bleu = cider, rouge, bleu

    @staticmethod
    def of(captions: list[str], references: list[list[list[str]]]) -> _Scored:
        """Score captions against every row's references."""
        words = [words_of(caption) for caption in captions]
        rouge = [rouge_l(own, known) for own, known in zip(words, references, strict=True)]
        cider = torch.from_numpy(cider_d(words, references))
        return _Scored(cider, torch.tensor(rouge, dtype=torch.float64), bleu_counts(words, references))

    def metrics(self, controls: dict[str, _Scored], *, draws: int) -> dict[str, Metric]:
        """Means with intervals; the weights of CIDEr's n-grams stay those of all rows in every draw."""
        rows = torch.arange(len(self.cider))
        cider = mean_of(
            self.cider, clusters=rows, controls={who: float(each.cider.mean()) for who, each in controls.items()}
        )
        rng = np.random.default_rng(0)
        values = [self.bleu.score(rng.integers(0, len(rows), size=len(rows))) for _ in range(draws)]
        low, high = np.quantile(values, (0.025, 0.975)) if values else (None, None)
        return {
            "CIDEr": Metric(**{**cider.__dict__, "unit": "number"}),
            "ROUGE-L": mean_of(
                self.rouge, clusters=rows, controls={who: float(each.rouge.mean()) for who, each in controls.items()}
            ),
            "BLEU-4": Metric(
                value=self.bleu.score(),
                low=None if low is None else float(low),
                high=None if high is None else float(high),
                method=f"bootstrap over rows, {draws} draws" if values else "",
                count=len(rows),
                controls={who: each.bleu.score() for who, each in controls.items()},
            ),
        }


def _from_file(rows: Rows, config: Any, bench: Bench) -> tuple[list[int], list[str], list[str]]:
    """Numbers of the rows that have a caption, their captions, and a message for each row or caption left alone."""
    path = existing(Path(bench.located(config.predictions)), what="predicted captions")
    captions: dict[str, str] = {}
    for number, each in enumerate(read_json(path, list)):
        try:
            key, text = str(each["image_id"]), str(each["caption"])
        except (KeyError, TypeError) as error:
            raise ConfigError(f"'{path}' entry {number}: expected image_id and caption: {error}.") from error
        if key in captions:
            raise ConfigError(f"'{path}' has two captions of '{key}'.")
        captions[key] = text
    names = rows.keys() if config.key is None else rows.field(config.key)
    kept = [number for number, name in enumerate(names) if name in captions]
    if not kept:
        raise MissingData(
            f"'{path}' has no caption of a row: image_id '{next(iter(captions), '')}', row '{names[0]}'."
        )
    missing = [f"{name}: no caption in '{path}'" for name in names if name not in captions]
    missing += [f"'{path}': no row is '{name}'" for name in captions if name not in set(names)]
    return kept, [captions[names[number]] for number in kept], missing


def _from_bank(bench: Bench, config: Any) -> tuple[Rows, dict[str, list[str]]]:
    """The nearest caption of the bank for every row, of each encoder; of equal ones the first in the alphabet."""
    rows, z = bench.media(config.source, config.where, config.modality)
    bank = bench.rows(config.bank, config.bank_where)
    texts = sorted(
        {text for value in bank.values(config.bank_field) for text in ([value] if isinstance(value, str) else value)}
    )
    points = bench.texts(texts)
    step, found = max(1, TILE_CELLS // len(texts)), {}
    for who, each in z.items():
        nearest = [bench.similarity(who)(part, points[who]).float().argmax(dim=1) for part in each.split(step)]
        found[who] = [texts[place] for place in torch.cat(nearest).tolist()]
    return rows, found


def _references(value: Any, rows: Rows, config: Any) -> list[str]:
    texts = [str(value)] if not isinstance(value, list) else [str(each) for each in value]
    if not texts:
        raise ConfigError(f"'{rows.source}' has a row without references in '{config.captions_field}'.")
    return texts


def _chosen(values: list[Any], numbers: list[int]) -> list[Any]:
    return [values[number] for number in numbers]
