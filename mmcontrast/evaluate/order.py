"""Does a sound's order match its caption's?  Two clips, two captions, each the other's reversal."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from mmcontrast.config import config
from mmcontrast.evaluate import EVALUATORS
from mmcontrast.evaluate.base import Bench, Metric, Report, constant_like, proportion
from mmcontrast.geometry.base import Geometry


@EVALUATORS.register("order")
class Order:
    """Text, audio and group score of pairs (a then b, b then a), strictly: a tie is wrong.

    For clips c0, c1 and captions t0, t1: text is right when each clip prefers its own caption, audio when each caption
    prefers its own clip, group when both hold.  ``two_way`` counts single clips that prefer their own caption.

    Source: Thrush et al. 2022, arXiv:2204.03162, equations 1 to 3; Ghosh et al. 2023, arXiv:2310.08753, for sound.
    """

    @config
    class Config:
        """Fields of the evaluator."""

        source: str  # manifest folder, or package:NAME
        modality: str = "audio"
        pair: str = "pair"  # JSON field shared by the two orders
        title: str = ""  # heading in reports

    def __init__(self, config: Any) -> None:
        self.config = config

    def run(self, bench: Bench) -> Report:
        """Evaluate the trained encoder, and the controls beside it."""
        config = self.config
        rows, z = bench.media(config.source, {}, config.modality)
        captions = rows.field("caption")
        places: dict[str, list[int]] = defaultdict(list)
        for position, pair in enumerate(rows.field(config.pair)):
            places[pair].append(position)
        complete = [both for both in places.values() if len(both) == 2 and captions[both[0]] != captions[both[1]]]
        index = torch.tensor(complete)  # (P, 2)
        text = bench.texts(captions)

        def score(who: str, clips: Tensor, words: Tensor) -> dict[str, Tensor]:
            return order_hits(clips[index], words[index], bench.encoders[who].geometry)

        found = score("trained", z["trained"], text["trained"])
        # Another pair's captions, in a random order: nothing is left to be right about.
        generator = torch.Generator().manual_seed(0)
        other = index[torch.randperm(len(index), generator=generator)]
        flip = torch.rand(len(index), generator=generator) < 0.5
        other = torch.where(flip[:, None], other.flip(1), other)
        strangers = text["trained"].clone()
        strangers[index] = text["trained"][other]
        controls = {
            "shuffled": score("trained", z["trained"], strangers),
            "constant": score("trained", constant_like(z["trained"]), text["trained"]),
            **{who: score(who, z[who], text[who]) for who in z if who != "trained"},
        }
        chance = {"two_way": 0.5, "text": 0.25, "audio": 0.25, "group": 1 / 6}
        metrics: dict[str, Metric] = {
            name: proportion(
                hits, chance=chance[name], controls={who: float(each[name].mean()) for who, each in controls.items()}
            )
            for name, hits in found.items()
        }
        return Report(
            evaluator="order",
            title=config.title,
            metrics=metrics,
            primary="group",
            num_rows=2 * len(index),
            missing=rows.missing,
            facts={"pairs": len(index), "incomplete_pairs": len(places) - len(index)},
        )


def order_hits(clips: Tensor, words: Tensor, geometry: Geometry) -> dict[str, Tensor]:
    """Score pairs of clips (P, 2, D) against pairs of captions (P, 2, D), clip k belonging to caption k."""
    scores = torch.stack([geometry.similarity(c, w) for c, w in zip(clips, words, strict=True)])  # (P, clip, caption)
    text0, text1 = scores[:, 0, 0] > scores[:, 0, 1], scores[:, 1, 1] > scores[:, 1, 0]
    audio0, audio1 = scores[:, 0, 0] > scores[:, 1, 0], scores[:, 1, 1] > scores[:, 0, 1]
    text, audio = text0 & text1, audio0 & audio1
    return {
        "group": (text & audio).float(),
        "text": text.float(),
        "audio": audio.float(),
        "two_way": torch.cat([text0, text1]).float(),
    }
