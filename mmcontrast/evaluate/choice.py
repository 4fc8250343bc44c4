"""Choosing among a few: the right text for a picture or sound, the right picture or sound for a text, and both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmcontrast.config import Count, NonNegativeCount, config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.asked import Asked
from mmcontrast.evaluate.base import Evaluator, Example, PerItem, Report, Shown, spread_out, worst
from mmcontrast.evaluate.bench import Bench, Rows
from mmcontrast.evaluate.blind import bag_of_words, text_alone
from mmcontrast.evaluate.choice_items import ChoiceItems, Degenerate, ids_under
from mmcontrast.evaluate.choice_metrics import ChoiceMetrics
from mmcontrast.evaluate.metrics.compat import QUIRKS
from mmcontrast.evaluate.names import exclusions


@EVALUATORS.register("choice")
class Choice(Evaluator):
    """Text, image (or audio) and group score of items with a few contexts and a few texts, strictly: a tie is wrong.

    ``text`` is right when every context prefers its own texts, ``image`` when every text prefers its own contexts,
    ``group`` when both hold; ``text single`` counts single contexts.  ``macro`` is the mean over categories of the
    mean of their items.  ``as PEER`` is what a peer's tie rule makes of the same scores; it is never the number to
    quote without the peer's name.

    Controls: ``constant`` compares one point with itself; ``blind`` is this model with every context replaced by the
    mean of all; ``text_only`` is a learner of the texts' words (naive Bayes, five folds); ``text_length`` takes the
    longest text; ``bag_of_words`` reads texts with their words sorted; ``order_insensitive`` is the mean of the words'
    own embeddings; ``shuffled`` gives contexts each other's place.

    Source: Thrush et al. 2022, arXiv:2204.03162, equations 1 to 3; Yuksekgonul et al. 2023, arXiv:2210.01936.
    """

    also_reads = ("text",)

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # a reader that lists items: sugarcrepe:FOLDER, probe:FOLDER and others, or its YAML file
        modality: str = "image"  # of the contexts: image, audio, or text
        where: dict[str, str] = {}  # keep items whose category, or another field, has this value
        primary: str = ""  # metric that stands for the whole; empty: group, else text, else image
        recall: tuple[Count, ...] = ()  # also: is the right text among the k best?
        exclude: str | None = None  # categories left out of macro means: a shipped list, or a json file with one
        min_count: Count = 1  # categories of fewer items are left out of macro means
        degenerate: str = "keep"  # items that cannot be answered: keep them, as the published numbers do, or leave_out
        compat: str | None = None  # also report what this peer's tie rule makes of the scores
        examples: NonNegativeCount = 4  # items shown in reports
        title: str = ""  # heading in reports

        def __post_init__(self) -> None:
            if self.modality not in ("image", "audio", "text"):
                raise ValueError(f"modality: '{self.modality}' is none of image, audio, text.")
            if self.degenerate not in ("keep", "leave_out"):
                raise ValueError(f"degenerate: '{self.degenerate}' is none of keep, leave_out.")

    @classmethod
    def modalities(cls, config: Any) -> tuple[str, ...]:
        """What the model must be able to encode."""
        return ("text",) if config.modality == "text" else (config.modality, "text")

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return ChoiceMetrics.names(config)

    def run(self, bench: Bench) -> Report:
        """Evaluate the trained encoder, and the controls beside it."""
        config = self.config
        rows, z = self._contexts(bench)
        asked = Asked(rows).needing("contexts")
        items = ChoiceItems.of(asked, config.where)
        flags = Degenerate.of(items)
        counts = flags.counts()
        if config.degenerate == "leave_out":
            items = items.keeping(~flags.any)
            flags = Degenerate.of(items)
        words = bench.texts(items.texts)
        scores = items.scores(z["trained"], words["trained"], similarity=bench.similarity("trained"))
        measured = ChoiceMetrics(config, items, exclusions(config.exclude) if config.exclude else ())
        metrics = measured.report(scores, self._controls(bench, items, z, words))
        primary = config.primary or next(name for name in ("group", "text", measured.other) if name in metrics)
        if primary not in metrics:
            raise ConfigError(f"primary: '{primary}' is not measured here; there are {', '.join(metrics)}.")
        return self.report(
            metrics=metrics,
            primary=primary,
            num_rows=len(items),
            missing=asked.missing,
            facts={
                "items": len(items),
                "contexts": len(rows.items),
                "texts": len(items.texts),
                **counts,
                "degenerate_items_are": "left out" if config.degenerate == "leave_out" else "counted like the others",
                **measured.facts(scores),
                **({f"as {config.compat}": QUIRKS[config.compat]} if config.compat else {}),
            },
            classes=measured.classes(scores, primary),
            gallery=_gallery(rows, items, scores, config, spread_out(len(items), config.examples)),
            failures=_gallery(rows, items, scores, config, _furthest_off(items, scores, config.examples)),
            per_item=[
                PerItem(
                    keys=items.keys,
                    values={**measured.per_item(scores), "degenerate": flags.any.float().tolist()},
                    clusters=items.clusters,
                )
            ],
        )

    def _contexts(self, bench: Bench) -> tuple[Rows, dict[str, Tensor]]:
        config = self.config
        if config.modality != "text":
            if config.modality == "audio":
                bench.check_window(bench.rows(config.source, {}))
            return bench.media(config.source, {}, config.modality)
        rows = bench.rows(config.source, {})
        return rows, bench.texts(rows.field("text"))

    def _controls(
        self, bench: Bench, items: ChoiceItems, z: dict[str, Tensor], words: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Scores of everything that knows less than the model."""
        similarity, trained, texts = bench.similarity("trained"), z["trained"], words["trained"]
        nothing = torch.zeros_like(items.context_ids)
        mean = bench.encoders["trained"].geometry.mean(trained)[None]
        bags, bag = ids_under(items.texts, bag_of_words)
        order = torch.randperm(len(trained), generator=torch.Generator().manual_seed(0))

        def unordered(points: Tensor) -> Tensor:
            return items.scores(trained, points, similarity=similarity, text_ids=bag[items.text_ids])

        controls = {
            "shuffled": items.scores(trained[order], texts, similarity=similarity),
            "constant": items.scores(
                trained, texts, similarity=similarity, context_ids=nothing, text_ids=torch.zeros_like(items.text_ids)
            ),
            "blind": items.scores(mean, texts, similarity=similarity, context_ids=nothing),
            "text_length": items.of_texts(torch.tensor([float(len(text)) for text in items.texts])),
            **{name: unordered(each) for name, each in {**bench.bags(bags), **bench.unordered(bags)}.items()},
            **{
                who: items.scores(z[who], words[who], similarity=bench.similarity(who))
                for who in z
                if who != "trained"
            },
        }
        learned = _text_only(items)
        return controls if learned is None else {**controls, "text_only": learned}


def _text_only(items: ChoiceItems) -> Tensor | None:
    """Scores of the learner that reads texts alone; None where every text is right for some context."""
    belongs, there = items.right.any(dim=1), items.valid.any(dim=1)  # (N, L)
    if not (there & ~belongs).any():
        return None
    found = text_alone(
        [[items.texts[text] for text in row] for row in items.text_ids.tolist()], belongs.tolist(), items.clusters
    )
    return torch.tensor(found)[:, None].expand(items.valid.shape)


def _furthest_off(items: ChoiceItems, scores: Tensor, wanted: int) -> list[int]:
    """Items of which a context prefers a wrong text by most."""
    wrong = scores.masked_fill(~items.valid | items.right, -torch.inf).amax(dim=2)  # (N, K)
    right = scores.masked_fill(~items.right, torch.inf).amin(dim=2)
    margin = (wrong - right).amax(dim=1)
    return worst(margin, torch.isfinite(margin) & (margin >= 0), wanted)


def _gallery(rows: Rows, items: ChoiceItems, scores: Tensor, config: Any, numbers: list[int]) -> list[Example]:
    show: Callable[[int, str], Shown] = (
        (lambda row, caption: Shown(kind="text", caption=rows.items[row].info["text"]))
        if config.modality == "text"
        else (lambda row, caption: rows.shown(row, config.modality, caption=caption))
    )
    examples = []
    for number in numbers:
        right, valid = items.right[number], items.valid[number]
        for context in range(right.shape[0]):
            wrong = valid[context] & ~right[context]
            if not right[context].any() or not wrong.any():
                continue
            lowest = scores[number, context][right[context]].min()
            answers = [
                Shown(
                    kind="text",
                    caption=items.texts[int(items.text_ids[number, text])],
                    right=bool(right[context, text]),
                    score=float(scores[number, context, text]),
                )
                for text in range(right.shape[1])
                if valid[context, text]
            ]
            rank = 1 + int((scores[number, context][wrong] >= lowest).sum())
            query = show(int(items.context_ids[number, context]), items.categories[number])
            examples.append(Example(query=query, answers=answers, rank=rank))
    return examples
