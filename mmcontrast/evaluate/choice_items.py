"""Items of a choice among a few as tables of numbers: which contexts, which texts, which belong together.

Letters: N items, K contexts of an item (pictures, sounds or texts), L texts of an item, P contexts in all, T texts in
all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmcontrast.errors import ConfigError, MissingData, did_you_mean
from mmcontrast.evaluate.asked import Asked
from mmcontrast.evaluate.blind import words_of
from mmcontrast.evaluate.metrics.ranks import Similarity

BLOCK_ITEMS = 64  # items scored at a time


@dataclass(frozen=True)
class ChoiceItems:
    """Every item, padded to the most contexts and texts that one has."""

    keys: list[str]
    categories: list[str]
    clusters: list[str]
    texts: list[str]  # T strings, each once
    context_ids: Int[Tensor, "N K"]  # rows of the source; 0 where there is none
    text_ids: Int[Tensor, "N L"]  # positions in ``texts``; 0 where there is none
    right: Bool[Tensor, "N K L"]
    valid: Bool[Tensor, "N K L"]

    @staticmethod
    def of(asked: Asked, where: dict[str, str]) -> ChoiceItems:
        """Tabulate the queries that pass a filter.

        Raises:
            ConfigError: no query has such a field or value.
        """
        queries = _passing(asked.queries, where)
        place = {text: number for number, text in enumerate(dict.fromkeys(t for q in queries for t in q["texts"]))}
        most_contexts = max(len(query["contexts"]) for query in queries)
        most_texts = max(len(query["texts"]) for query in queries)
        shape = (len(queries), most_contexts, most_texts)
        context_ids = torch.zeros(shape[:2], dtype=torch.long)
        text_ids = torch.zeros(shape[0], shape[2], dtype=torch.long)
        right, valid = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
        for number, query in enumerate(queries):
            contexts, texts = query["contexts"], query["texts"]
            context_ids[number, : len(contexts)] = torch.tensor([asked.place[key] for key in contexts])
            text_ids[number, : len(texts)] = torch.tensor([place[text] for text in texts])
            there = query.get("valid")  # null: every context is compared with every text
            valid[number, : len(contexts), : len(texts)] = True if there is None else torch.tensor(there)
            for context, places in enumerate(query["right"]):
                right[number, context, places] = True
        return ChoiceItems(
            keys=[query["key"] for query in queries],
            categories=[query["category"] for query in queries],
            clusters=[query["cluster"] for query in queries],
            texts=list(place),
            context_ids=context_ids,
            text_ids=text_ids,
            right=right,
            valid=valid,
        )

    def __len__(self) -> int:
        return len(self.keys)

    def scores(
        self,
        contexts: Float[Tensor, "P D"],
        texts: Float[Tensor, "T D"],
        *,
        similarity: Similarity,
        context_ids: Int[Tensor, "N K"] | None = None,
        text_ids: Int[Tensor, "N L"] | None = None,
    ) -> Float[Tensor, "N K L"]:
        """Similarity of every item's contexts with its texts.

        Equal ids give equal scores to the last bit: each text and context of a block is compared once.

        Args:
            context_ids, text_ids: rows of ``contexts`` and ``texts`` in the place of the items' own, for controls.
        """
        context_ids = self.context_ids if context_ids is None else context_ids
        text_ids = self.text_ids if text_ids is None else text_ids
        parts = []
        for start in range(0, len(self), BLOCK_ITEMS):
            block = slice(start, start + BLOCK_ITEMS)
            rows, row = context_ids[block].unique(return_inverse=True)  # row: (n, K)
            columns, column = text_ids[block].unique(return_inverse=True)
            table = similarity(contexts[rows], texts[columns]).float()
            parts.append(table[row[:, :, None], column[:, None, :]])
        return torch.cat(parts)

    def of_texts(self, values: Float[Tensor, " T"]) -> Float[Tensor, "N K L"]:
        """Scores that know the texts alone: the same for every context."""
        return values[self.text_ids][:, None].expand(self.valid.shape)

    def keeping(self, kept: Bool[Tensor, " N"]) -> ChoiceItems:
        """Some of the items.

        Raises:
            MissingData: none.
        """
        chosen = [number for number, keep in enumerate(kept.tolist()) if keep]
        if not chosen:
            raise MissingData("no item is left: all of them are degenerate.")
        return ChoiceItems(
            keys=[self.keys[number] for number in chosen],
            categories=[self.categories[number] for number in chosen],
            clusters=[self.clusters[number] for number in chosen],
            texts=self.texts,
            context_ids=self.context_ids[chosen],
            text_ids=self.text_ids[chosen],
            right=self.right[chosen],
            valid=self.valid[chosen],
        )


def _passing(queries: list[dict[str, Any]], where: dict[str, str]) -> list[dict[str, Any]]:
    for name, value in where.items():
        known = sorted({str(_field(query, name)) for query in queries if _field(query, name) is not None})
        if not known:
            fields = sorted({key for query in queries for key in (*query, *query.get("fields", {}))})
            listing = ", ".join(fields)
            raise ConfigError(f"no item has a field '{name}'.{did_you_mean(name, fields)} They have: {listing}.")
        if value not in known:
            some = ", ".join(known[:20])
            raise ConfigError(f"no item has {name} = '{value}'.{did_you_mean(value, known)} Values: {some}.")
        queries = [query for query in queries if str(_field(query, name)) == value]
    return queries


def _field(query: dict[str, Any], name: str) -> Any:
    return query.get(name, query.get("fields", {}).get(name))


@dataclass(frozen=True)
class Degenerate:
    """Items that ask for what cannot be told apart, and items that word order alone decides."""

    right_equals_wrong: Bool[Tensor, " N"]  # but for case, punctuation and spaces
    wrong_twice: Bool[Tensor, " N"]  # two wrong texts are equal in the same sense
    context_twice: Bool[Tensor, " N"]  # two contexts are the same row
    same_words: Bool[Tensor, " N"]  # a right and a wrong text have the same words: not degenerate, but worth knowing

    @staticmethod
    def of(items: ChoiceItems) -> Degenerate:
        """Look at every item."""
        plain = [plain_text(text) for text in items.texts]
        bags = [" ".join(sorted(text.split())) for text in plain]
        rows: list[tuple[bool, bool, bool, bool]] = []
        for number in range(len(items)):
            valid, right, texts = items.valid[number], items.right[number], items.text_ids[number].tolist()
            contexts = items.context_ids[number][valid.any(dim=1)].tolist()
            pairs = [
                (texts[good], texts[bad])
                for there, marks in zip(valid.tolist(), right.tolist(), strict=True)
                for good in range(len(texts))
                for bad in range(len(texts))
                if marks[good] and there[bad] and not marks[bad]
            ]
            wrong = (valid.any(dim=0) & ~right.any(dim=0)).tolist()
            never = [plain[text] for text, is_wrong in zip(texts, wrong, strict=True) if is_wrong]
            rows.append(
                (
                    any(plain[good] == plain[bad] for good, bad in pairs),
                    len(set(never)) < len(never),
                    len(set(contexts)) < len(contexts),
                    any(bags[good] == bags[bad] and plain[good] != plain[bad] for good, bad in pairs),
                )
            )
        return Degenerate(*torch.tensor(rows, dtype=torch.bool).unbind(dim=1))

    @property
    def any(self) -> Bool[Tensor, " N"]:
        """Items that nothing could answer, or that hold a wrong answer twice."""
        return self.right_equals_wrong | self.wrong_twice | self.context_twice

    def counts(self) -> dict[str, int]:
        """How many items of each kind, for the report."""
        return {
            "degenerate items": int(self.any.sum()),
            "a wrong text equals the right one": int(self.right_equals_wrong.sum()),
            "a wrong text stands twice": int(self.wrong_twice.sum()),
            "a context stands twice": int(self.context_twice.sum()),
            "same words in another order": int(self.same_words.sum()),
        }


def plain_text(text: str) -> str:
    """Lower case, words alone, one space between them."""
    return " ".join(words_of(text))


def ids_under(texts: Sequence[str], change: Callable[[str], str]) -> tuple[list[str], Int[Tensor, " T"]]:
    """The different results of a change of texts, and which of them each text has become."""
    changed = [change(text) for text in texts]
    place = {text: number for number, text in enumerate(dict.fromkeys(changed))}
    return list(place), torch.tensor([place[text] for text in changed], dtype=torch.long)
