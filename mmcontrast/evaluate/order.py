"""Does a sound's order match its caption's?  Two clips, two captions, each the other's reversal."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from mmcontrast.config import config
from mmcontrast.errors import ConfigError
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import (
    Evaluator,
    Example,
    Metric,
    PerItem,
    Report,
    Shown,
    constant_like,
    proportion,
    spread_out,
    worst,
)
from mmcontrast.evaluate.bench import Bench, Rows
from mmcontrast.evaluate.metrics.ranks import Similarity

CHANCE = {"group": 1 / 6, "text": 1 / 4, "audio": 1 / 4, "two_way": 1 / 2}
GALLERY_PAIRS = 4


@EVALUATORS.register("order")
class Order(Evaluator):
    """Text, audio and group score of pairs (a then b, b then a), strictly: a tie is wrong.

    For clips c0, c1 and captions t0, t1: text is right when each clip prefers its own caption, audio when each
    caption prefers its own clip, group when both hold.  ``two_way`` counts single clips that prefer their own
    caption.  A model that hears which instruments sound, but not in which order, stays at chance.

    Source: Thrush et al. 2022, arXiv:2204.03162, equations 1 to 3; Ghosh et al. 2023, arXiv:2310.08753, for sound.
    """

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # manifest folder, or package:NAME
        pair: str = "pair"  # JSON field shared by the two orders
        where: dict[str, str] = {}  # keep rows whose JSON field has this value
        title: str = ""  # heading in reports

    @classmethod
    def modalities(cls, config: Any) -> tuple[str, ...]:
        """What the model must be able to encode."""
        return ("audio", "text")

    @classmethod
    def metric_names(cls, config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        return tuple(CHANCE)

    def run(self, bench: Bench) -> Report:
        """Evaluate the trained encoder, and the controls beside it."""
        config = self.config
        bench.check_window(bench.rows(config.source, config.where))
        rows, z = bench.media(config.source, config.where, "audio")
        captions = rows.field("caption")
        index, alone = complete_pairs(rows, captions, config.pair)
        text = bench.texts(captions)

        def score(who: str, clips: Tensor, words: Tensor) -> Tensor:
            return pair_scores(clips[index], words[index], similarity=bench.similarity(who))

        scores = score("trained", z["trained"], text["trained"])
        found = order_hits(scores)
        controls = {
            "shuffled": order_hits(score("trained", z["trained"], strangers(text["trained"], index))),
            "constant": order_hits(score("trained", constant_like(z["trained"]), text["trained"])),
            **{
                name: order_hits(score("trained", z["trained"], words))
                for name, words in {**bench.bags(captions), **bench.unordered(captions)}.items()
            },
            "text_length": order_hits(length_scores(captions, index)),
            **{who: order_hits(score(who, z[who], text[who])) for who in z if who != "trained"},
        }
        clusters = {"two_way": torch.arange(len(index)).repeat(2)}  # the two clips of a pair are not independent
        metrics: dict[str, Metric] = {
            name: proportion(
                hits,
                chance=CHANCE[name],
                controls={who: float(each[name].mean()) for who, each in controls.items()},
                clusters=clusters.get(name),
            )
            for name, hits in found.items()
        }
        pairs = [rows.field(config.pair)[int(first)] for first in index[:, 0]]
        return self.report(
            metrics=metrics,
            primary="group",
            num_rows=index.numel(),
            missing=rows.missing,
            facts={
                "pairs": len(index),
                "rows_without_their_reversal": alone,
                "tie_rate": float((scores[:, :, 0] == scores[:, :, 1]).float().mean()),
            },
            gallery=_gallery(rows, captions, index, scores, spread_out(len(index), GALLERY_PAIRS)),
            failures=_gallery(rows, captions, index, scores, _furthest_off(scores, GALLERY_PAIRS)),
            per_item=[
                PerItem(
                    keys=pairs,
                    values={name: found[name].tolist() for name in ("group", "text", "audio")},
                    clusters=pairs,
                )
            ],
        )


def complete_pairs(rows: Rows, captions: list[str], field: str) -> tuple[Tensor, int]:
    """Row numbers of each pair's two orders, (P, 2), and how many rows have no partner.

    Raises:
        ConfigError: no pair has two rows with different captions.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for number, pair in enumerate(rows.field(field)):
        places[pair].append(number)
    complete = [both for both in places.values() if len(both) == 2 and captions[both[0]] != captions[both[1]]]
    if not complete:
        raise ConfigError(f"'{rows.source}': no two rows share a '{field}' and differ in caption.")
    return torch.tensor(complete), len(captions) - 2 * len(complete)


def strangers(words: Tensor, index: Tensor, *, seed: int = 0) -> Tensor:
    """Give every pair another pair's captions, either way round: nothing is left to be right about."""
    generator = torch.Generator().manual_seed(seed)
    other = index[torch.randperm(len(index), generator=generator)]
    flip = torch.rand(len(index), generator=generator) < 0.5
    result = words.clone()
    result[index] = words[torch.where(flip[:, None], other.flip(1), other)]
    return result


def pair_scores(clips: Tensor, words: Tensor, *, similarity: Similarity) -> Tensor:
    """Scores of clips (P, 2, D) with captions (P, 2, D): (P, clip, caption)."""
    return torch.stack([similarity(clip, word).float() for clip, word in zip(clips, words, strict=True)])


def length_scores(captions: list[str], index: Tensor) -> Tensor:
    """Scores (P, clip, caption) that know how long a caption is, and nothing else."""
    lengths = torch.tensor([float(len(caption)) for caption in captions])[index]  # (P, caption)
    return lengths[:, None].expand(-1, 2, -1)


def order_hits(scores: Tensor) -> dict[str, Tensor]:
    """Right or wrong, from scores (P, clip, caption) where clip k belongs to caption k; every comparison is strict."""
    text0, text1 = scores[:, 0, 0] > scores[:, 0, 1], scores[:, 1, 1] > scores[:, 1, 0]
    audio0, audio1 = scores[:, 0, 0] > scores[:, 1, 0], scores[:, 1, 1] > scores[:, 0, 1]
    text, audio = text0 & text1, audio0 & audio1
    return {
        "group": (text & audio).float(),
        "text": text.float(),
        "audio": audio.float(),
        "two_way": torch.cat([text0, text1]).float(),
    }


def _furthest_off(scores: Tensor, wanted: int) -> list[int]:
    """Pairs of which a clip prefers the reversed caption by most."""
    margin = torch.stack([scores[:, clip, 1 - clip] - scores[:, clip, clip] for clip in (0, 1)]).amax(dim=0)
    return worst(margin, margin >= 0, wanted)


def _gallery(rows: Rows, captions: list[str], index: Tensor, scores: Tensor, pairs: list[int]) -> list[Example]:
    examples = []
    for pair in pairs:
        for clip in (0, 1):
            number = int(index[pair, clip])
            # Always in the pair's order, so that the place of a caption says nothing of which is right.
            answers = [
                Shown(
                    kind="text",
                    caption=captions[int(index[pair, word])],
                    right=word == clip,
                    score=float(scores[pair, clip, word]),
                )
                for word in (0, 1)
            ]
            rank = 1 if scores[pair, clip, clip] > scores[pair, clip, 1 - clip] else 2
            query = rows.shown(number, "audio", caption=captions[number])
            examples.append(Example(query=query, answers=answers, rank=rank))
    return examples
