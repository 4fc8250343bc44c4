"""Choosing the right text for a picture or sound, and the right picture or sound for a text, among a few.

Letters: N items, K media of an item (pictures or sounds), L texts of an item.  One right text beside wrong ones
(K = 1), one right picture (L = 1), two of each (Winoground) and several right texts (SugarCrepe++) are all one table
of which cell is right.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmcontrast.errors import MetricError
from mmcontrast.evaluate.metrics.compat import check_compat
from mmcontrast.evaluate.metrics.finite import check_finite


@dataclass(frozen=True)
class Choices:
    """Right or wrong of each item; an axis along which nothing can be chosen is None."""

    text: Float[Tensor, " N"] | None  # every medium prefers its own texts
    image: Float[Tensor, " N"] | None  # every text prefers its own media, pictures or sounds
    group: Float[Tensor, " N"] | None  # both
    expected_text: Float[Tensor, " N"] | None  # probability of being right when ties are broken at random
    expected_image: Float[Tensor, " N"] | None
    tie_rate: float  # share of items with a tie between a right and a wrong cell that decides
    chance: dict[str, float]  # of random scores without ties


def diagonal(items: int, media: int, texts: int) -> Bool[Tensor, "N K L"]:
    """The usual table: medium k belongs to text k."""
    return torch.eye(media, texts, dtype=torch.bool).expand(items, media, texts)


def choose(
    scores: Float[Tensor, "N K L"],
    right: Bool[Tensor, "N K L"] | None = None,
    *,
    valid: Bool[Tensor, "N K L"] | None = None,
    compat: str | None = None,
) -> Choices:
    """Judge every item, strictly: each right cell must beat each wrong one of its row (text) or column (image).

    Args:
        right: which cells belong together; the diagonal if null.
        valid: False where an item has fewer media or texts than the others.
        compat: a peer's tie rule, see ``metrics/compat.py``: ``clip_benchmark`` and ``mteb`` let the first of equal
            scores win and need the diagonal, ``aro`` and ``negbench`` let it win wherever the right one stands, in
            ``mmvp`` the second picture wins, ``sugarcrepe`` is strict.

    Raises:
        MetricError: NaN scores, tables of other sizes, or an item with nothing to choose.

    Source: Thrush et al. 2022, arXiv:2204.03162, equations 1 to 3; Hsieh et al. 2023, arXiv:2306.14610.
    """
    check_compat(compat, ("clip_benchmark", "aro", "mteb", "mmvp", "negbench", "sugarcrepe"), metric="choices")
    scores = scores.float()
    right = diagonal(*scores.shape) if right is None else right
    valid = torch.ones_like(right) if valid is None else valid
    if right.shape != scores.shape or valid.shape != scores.shape:
        raise MetricError(
            f"scores are {tuple(scores.shape)}, right {tuple(right.shape)}, valid {tuple(valid.shape)}: all (N, K, L)."
        )
    check_finite(scores.masked_fill(~valid, 0), what="scores", axes=("item", "medium", "text"))
    if compat == "mmvp":
        return _second_picture_wins(scores, right, valid)
    if compat not in (None, "sugarcrepe"):
        return _first_wins(scores, right, valid, compat=str(compat))
    text = _Axis.judge(scores, right & valid, valid)
    image = _Axis.judge(scores.mT, (right & valid).mT, valid.mT)
    if text is None and image is None:
        raise MetricError("an item has no wrong text and no wrong medium: there is nothing to choose.")
    axes = [axis for axis in (text, image) if axis is not None]
    chance = {} if text is None else {"text": text.chance}
    chance |= {} if image is None else {"image": image.chance}
    group = text.hits * image.hits if text is not None and image is not None else None
    if group is not None:
        two_by_two = scores.shape[1:] == (2, 2) and torch.equal(right, diagonal(*scores.shape)) and bool(valid.all())
        chance |= {"group": 1 / 6} if two_by_two else {}
    return Choices(
        text=None if text is None else text.hits,
        image=None if image is None else image.hits,
        group=group,
        expected_text=None if text is None else text.expected,
        expected_image=None if image is None else image.expected,
        tie_rate=float(torch.stack([axis.tied for axis in axes]).any(dim=0).float().mean()),
        chance=chance,
    )


@dataclass(frozen=True)
class _Axis:
    """Choosing along the last axis."""

    hits: Tensor
    expected: Tensor
    tied: Tensor
    chance: float

    @staticmethod
    def judge(scores: Tensor, right: Tensor, valid: Tensor) -> _Axis | None:
        """Compare the lowest right score of each line with its highest wrong one; None when no line has both."""
        wrong = valid & ~right
        asked = right.any(dim=2) & wrong.any(dim=2)  # (N, K)
        if not asked.any(dim=1).all():
            return None
        lowest = scores.masked_fill(~right, torch.inf).amin(dim=2)
        highest = scores.masked_fill(~wrong, -torch.inf).amax(dim=2)
        hit, tie = lowest > highest, lowest == highest
        level = (scores == lowest[:, :, None]) & valid
        tied_right, tied_wrong = (level & right).sum(dim=2), (level & wrong).sum(dim=2)
        share = torch.where(tie, 1 / _binomial(tied_right + tied_wrong, tied_right), hit.double())
        by_luck = 1 / _binomial(right.sum(dim=2) + wrong.sum(dim=2), right.sum(dim=2))
        ones = torch.ones_like(share)
        return _Axis(
            hits=(hit | ~asked).all(dim=1).float(),
            expected=torch.where(asked, share, ones).prod(dim=1).float(),
            tied=(tie & asked).any(dim=1),
            chance=float(torch.where(asked, by_luck, ones).prod(dim=1).mean()),
        )


def _binomial(total: Tensor, chosen: Tensor) -> Tensor:
    return torch.tensor(
        [math.comb(int(n), int(k)) for n, k in zip(total.flatten(), chosen.flatten(), strict=True)],
        dtype=torch.float64,
    ).view_as(total)


def _first_wins(scores: Tensor, right: Tensor, valid: Tensor, *, compat: str) -> Choices:
    """Argmax over each axis, as the peers do, quirks included."""
    if compat not in ("aro", "negbench") and not torch.equal(right, diagonal(*scores.shape)):
        raise MetricError(f"compat '{compat}' needs medium k to belong to text k.")
    scores = scores.masked_fill(~valid, -torch.inf)
    media, texts = scores.shape[1:]
    best_text, best_medium = scores.argmax(dim=2), scores.argmax(dim=1)
    if compat in ("aro", "negbench"):
        return _only_text(right.gather(2, best_text[:, :, None]).squeeze(2).all(dim=1).float())
    both = min(media, texts)
    asked_media, asked_texts = (media, texts) if compat == "mteb" else (both, both)
    text = (best_text[:, :asked_media] == torch.arange(asked_media)).all(dim=1).float()
    image = (best_medium[:, :asked_texts] == torch.arange(asked_texts)).all(dim=1).float()
    return Choices(text, image, text * image, None, None, 0.0, {})


def _second_picture_wins(scores: Tensor, right: Tensor, valid: Tensor) -> Choices:
    """MMVP asks whether softmax gives the first of two pictures more than a half; if not, it takes the second."""
    if scores.shape[1:] != (2, 2) or not torch.equal(right, diagonal(*scores.shape)) or not valid.all():
        raise MetricError("compat 'mmvp' needs two media and two texts, medium k belonging to text k.")
    first = scores[:, 0] > scores[:, 1]  # (N, text)
    return Choices(None, (first[:, 0] & ~first[:, 1]).float(), None, None, None, 0.0, {})


def text_ranks(
    scores: Float[Tensor, "N K L"], right: Bool[Tensor, "N K L"], *, valid: Bool[Tensor, "N K L"] | None = None
) -> Int[Tensor, " N"]:
    """Rank of each item's right text among its wrong ones, 1 is best; a tie counts against it.

    With several right texts or media, the worst of them.

    Source: Ma et al. 2023, arXiv:2212.07796, section 5 (CREPE's recall over a caption and its hard negatives).
    """
    valid = torch.ones_like(right) if valid is None else valid
    scores = scores.float()
    lowest = scores.masked_fill(~(right & valid), torch.inf).amin(dim=2, keepdim=True)  # (N, K, 1)
    ahead = ((scores >= lowest) & valid & ~right).sum(dim=2)
    return 1 + ahead.amax(dim=1)


def _only_text(text: Tensor) -> Choices:
    return Choices(text, None, None, None, None, 0.0, {})


@dataclass(frozen=True)
class Grouped:
    """Means over all items, and over groups of items."""

    micro: float  # over the items that are left
    macro: float  # over groups
    groups: dict[str, tuple[float, int]]  # name -> (mean, items)
    excluded: dict[str, int]  # group left out -> items


def by_group(
    hits: Float[Tensor, " N"], groups: Sequence[str], *, exclude: Collection[str] = (), min_count: int = 1
) -> Grouped:
    """Average items within each group, and groups with equal weight.

    Args:
        exclude: groups left out, such as ARO's symmetric relations.
        min_count: groups with fewer items are left out, as in ARO's attributes.

    Raises:
        MetricError: nothing is left, or the sizes differ.

    Source: Yuksekgonul et al. 2023, arXiv:2210.01936 (macro over relations, attributes with at least 25 items).
    """
    if len(groups) != len(hits):
        raise MetricError(f"{len(hits)} items, but {len(groups)} groups.")
    members: dict[str, list[float]] = {}
    for name, hit in zip(groups, hits.tolist(), strict=True):
        members.setdefault(name, []).append(hit)
    dropped = {name: len(each) for name, each in members.items() if name in set(exclude) or len(each) < min_count}
    kept = {name: each for name, each in members.items() if name not in dropped}
    if not kept:
        raise MetricError(f"no group is left of {len(members)}: exclude fewer, or lower min_count ({min_count}).")
    means = {name: (math.fsum(each) / len(each), len(each)) for name, each in kept.items()}
    total = sum(count for _, count in means.values())
    micro = math.fsum(mean * count for mean, count in means.values()) / total
    macro = math.fsum(mean for mean, _ in means.values()) / len(means)
    return Grouped(micro, macro, dict(sorted(means.items())), dropped)
