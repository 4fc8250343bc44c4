"""The numbers of a choice among a few: scores in, named metrics with intervals, chance and controls out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmcontrast.errors import MissingData
from mmcontrast.evaluate.base import Metric, mean_of, proportion
from mmcontrast.evaluate.choice_items import ChoiceItems
from mmcontrast.evaluate.metrics.choice import Choices, by_group, choose, text_ranks
from mmcontrast.evaluate.supervised import cluster_ids

OTHER = {"image": "image", "audio": "audio", "text": "context"}  # name of the score along the other axis


@dataclass(frozen=True)
class _Values:
    """One value an item, or one a context."""

    values: Tensor
    clusters: list[str]
    weights: Tensor | None = None  # null: all alike
    is_share: bool = True  # zeros and ones

    def mean(self) -> float:
        if self.weights is None:
            return float(self.values.double().mean())
        return float(self.values.double() @ self.weights / self.weights.sum())


class ChoiceMetrics:
    """Measures scores of one list of items."""

    def __init__(self, config: Any, items: ChoiceItems, exclude: Collection[str]) -> None:
        self.other = OTHER[config.modality]
        self._config, self._items = config, items
        counts = Counter(items.categories)
        self._excluded = {
            name: count for name, count in sorted(counts.items()) if name in exclude or count < config.min_count
        }
        kept = {name: count for name, count in counts.items() if name not in self._excluded}
        self._weights = None
        wanted = config.primary.endswith(" macro")
        if wanted and not kept:
            raise MissingData(
                f"no category is left for '{config.primary}': all of {len(counts)} are excluded, or have fewer than "
                f"{config.min_count} items."
            )
        if kept and (wanted or len(counts) > 1):
            shares = [1 / kept[name] / len(kept) if name in kept else 0.0 for name in items.categories]
            self._weights = torch.tensor(shares, dtype=torch.float64)

    @staticmethod
    def names(config: Any) -> tuple[str, ...]:
        """Metrics that a report may hold."""
        plain = ("text", OTHER[config.modality], "group")
        macro = tuple(f"{name} macro" for name in plain)
        recall = tuple(f"text recall@{k}" for k in config.recall)
        peers = tuple(f"{name}, as {config.compat}" for name in (*plain, *macro)) if config.compat else ()
        return (*plain, *macro, "text single", *recall, "text rank", *peers)

    def report(self, scores: Tensor, controls: dict[str, Tensor]) -> dict[str, Metric]:
        """Metrics of the scores (N, K, L), with the same metrics of each control's scores."""
        found = self._measure(scores)
        of_controls = {who: self._measure(each) for who, each in controls.items()}
        chance = self._chance(scores)
        return {
            name: _metric(
                each,
                chance=chance.get(name),
                controls={who: values[name].mean() for who, values in of_controls.items()},
            )
            for name, each in found.items()
        }

    def facts(self, scores: Tensor) -> dict[str, Any]:
        """Ties, what random tie-breaking would give, and categories left out of macro means."""
        found = self._choose(scores)
        expected = {"text": found.expected_text, self.other: found.expected_image}
        return {
            "tie_rate": found.tie_rate,
            "ties_broken_at_random": {
                name: float(each.double().mean()) for name, each in expected.items() if each is not None
            },
            **({"categories_left_out": self._excluded} if self._excluded else {}),
        }

    def classes(self, scores: Tensor, primary: str) -> dict[str, tuple[float, int]]:
        """Each category's mean of the primary metric, and its items; nothing where there is one category."""
        if len(set(self._items.categories)) == 1:
            return {}
        name = primary.removesuffix(" macro")
        found = self._measure(scores)
        values = found[name].values if name in found and len(found[name].values) == len(self._items) else None
        return {} if values is None else by_group(values, self._items.categories).groups

    def per_item(self, scores: Tensor) -> dict[str, list[float]]:
        """Text, image and group of every item."""
        return {name: hits.tolist() for name, hits in self._hits(self._choose(scores)).items()}

    # ------------------------------------------------------------ one table

    def _choose(self, scores: Tensor, compat: str | None = None) -> Choices:
        return choose(scores, self._items.right, valid=self._items.valid, compat=compat)

    def _hits(self, found: Choices) -> dict[str, Tensor]:
        named = {"text": found.text, self.other: found.image, "group": found.group}
        return {name: hits for name, hits in named.items() if hits is not None}

    def _measure(self, scores: Tensor) -> dict[str, _Values]:
        items, found = self._items, self._choose(scores)
        hits = self._hits(found)
        result = self._with_macro(hits)
        if found.text is not None:
            if items.valid.shape[1] > 1:
                lines, owners = self._lines(scores)
                result["text single"] = _Values(lines, [items.clusters[owner] for owner in owners])
            if self._config.recall:
                ranks = text_ranks(scores, items.right, valid=items.valid)
                for k in self._config.recall:
                    result[f"text recall@{k}"] = _Values((ranks <= k).float(), items.clusters)
                result["text rank"] = _Values(ranks.float(), items.clusters, is_share=False)
        if self._config.compat is not None:
            peer = self._with_macro(self._hits(self._choose(scores, self._config.compat)))
            result |= {f"{name}, as {self._config.compat}": each for name, each in peer.items()}
        return result

    def _with_macro(self, hits: dict[str, Tensor]) -> dict[str, _Values]:
        items = self._items
        result = {name: _Values(each, items.clusters) for name, each in hits.items()}
        if self._weights is not None:
            result |= {f"{name} macro": _Values(each, items.clusters, self._weights) for name, each in hits.items()}
        return result

    def _lines(self, scores: Tensor) -> tuple[Tensor, list[int]]:
        """Right or wrong of every context that has a right and a wrong text, and the item of each."""
        items = self._items
        right, wrong = items.right & items.valid, items.valid & ~items.right
        asked = right.any(dim=2) & wrong.any(dim=2)  # (N, K)
        lowest = scores.masked_fill(~right, torch.inf).amin(dim=2)
        highest = scores.masked_fill(~wrong, -torch.inf).amax(dim=2)
        return (lowest > highest)[asked].float(), asked.nonzero()[:, 0].tolist()

    def _chance(self, scores: Tensor) -> dict[str, float]:
        """Chance of each metric where it is known in closed form."""
        items, config = self._items, self._config
        chance = {
            self.other if name == "image" else name: value for name, value in self._choose(scores).chance.items()
        }
        alike = bool(items.valid.all()) and bool((items.right.sum(dim=2) == items.right[:1].sum(dim=2)).all())
        if alike:  # every item has the same chance, and therefore every category
            chance |= {f"{name} macro": value for name, value in chance.items()}
        count = items.valid.any(dim=1).sum(dim=1).double()  # texts of each item
        if items.valid.shape[1] == 1 and bool((items.right.sum(dim=(1, 2)) == 1).all()):
            chance |= {f"text recall@{k}": float((k / count).clamp_max(1).mean()) for k in config.recall}
            chance["text rank"] = float(((count + 1) / 2).mean())
        if alike and bool((items.right.sum(dim=2) == 1).all()):
            chance["text single"] = float((1 / count).mean())
        return chance


def _metric(each: _Values, *, chance: float | None, controls: dict[str, float]) -> Metric:
    if each.weights is not None:  # items without weight are no part of the mean
        kept = (each.weights > 0).nonzero().squeeze(1)
        names = [each.clusters[int(item)] for item in kept]
        each = _Values(each.values[kept], names, each.weights[kept], each.is_share)
    clusters = cluster_ids(each.clusters)
    if each.weights is None and each.is_share:
        return proportion(each.values, chance=chance, controls=controls, clusters=clusters)
    found = mean_of(each.values, clusters=clusters, controls=controls, weights=each.weights, chance=chance)
    if each.is_share:
        return found
    return Metric(
        value=found.value, low=found.low, high=found.high, method=found.method, count=found.count, chance=chance,
        controls=controls, unit="number",
    )  # fmt: skip
