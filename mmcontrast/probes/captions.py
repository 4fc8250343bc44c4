"""Base of the makers that ask for a caption among changed ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from mmcontrast.data.order import generator
from mmcontrast.errors import ConfigError, SkipSample
from mmcontrast.language.edits import Vocabulary
from mmcontrast.language.taggers.base import Tagger, build_tagger
from mmcontrast.language.words import Word
from mmcontrast.probe_file import ProbeItem
from mmcontrast.probes.base import Captioned, Maker, captions_at, unlike


@dataclass(frozen=True)
class Made:
    """One question about a caption: the right text first, then wrong ones."""

    category: str
    texts: list[str]
    fields: dict[str, Any] = field(default_factory=dict)  # what else is known of it


class CaptionMaker(Maker):
    """Makes questions of each caption by itself, with randomness of its own: other rows change nothing.

    A new one has ``questions``.
    """

    @cached_property
    def tagger(self) -> Tagger:
        """The tagger that the config names."""
        return build_tagger(self.config.tagger)

    def identity(self) -> dict[str, str]:
        """The tagger's name and version."""
        return {"name": self.config.tagger, "identity": self.tagger.identity}

    def questions(self, caption: str, row: Captioned, rng: np.random.Generator) -> Iterator[Made]:
        """Questions about one caption; what cannot be asked is counted in ``counts``."""
        raise NotImplementedError

    @cached_property
    def rows(self) -> list[Captioned]:
        """Every row that has captions.

        Raises:
            ConfigError: texts alone, and no row has two to compare.
        """
        found = []
        for position in self.positions:
            try:
                texts = captions_at(self.collection, position, self.config.field)
            except SkipSample:
                self.counts["unreadable"] += 1
                continue
            key = self.collection.key(position)
            if self.modality != "text":
                found.append(Captioned(key, tuple(texts), {"row": key}))
            elif len(texts) > 1:
                found.append(Captioned(key, (texts[0], *texts[2:]), {"text": texts[1]}))
            else:
                self.counts["one_caption"] += 1
        if not found:
            raise ConfigError(
                f"'{self.collection.name}' leaves nothing to ask about: {dict(self.counts)}. A set without pictures "
                "and sounds needs two captions a row, of which one is compared with the other."
            )
        return found

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words of all first captions."""
        return Vocabulary(self.tagger.tag(row.captions[0]) for row in self.rows)

    def asked(self, row: Captioned) -> Sequence[str]:
        """Captions of a row that are asked about."""
        return row.captions if self.config.captions == "all" else row.captions[:1]

    def items(self) -> Iterator[ProbeItem]:
        """Ask about every caption; of each category at most ``most``, drawn at random."""
        kind, seed = self.config.registry_name, self.config.seed
        found: dict[str, list[ProbeItem]] = defaultdict(list)
        for row in self.rows:
            for number, caption in enumerate(self.asked(row)):
                self.counts["captions"] += 1
                for made in self.questions(caption, row, generator("probe", kind, seed, caption)):
                    texts = unlike(made.texts)
                    if len(texts) < 2:
                        self.counts["same_text"] += 1
                        continue
                    name = f"{row.key} {number} {made.category}"
                    found[made.category].append(
                        ProbeItem(
                            id=name,
                            category=made.category,
                            contexts=[row.context],
                            texts=texts,
                            right=[[0]],
                            cluster=row.key,
                            fields=made.fields,
                        )  # fmt: skip
                    )
        for category in sorted(found):
            yield from self._some(found[category], generator("probe", kind, seed, "drawn", category))

    def _some(self, items: list[ProbeItem], rng: np.random.Generator) -> list[ProbeItem]:
        if self.config.most is None or len(items) <= self.config.most:
            return items
        self.counts["not_drawn"] += len(items) - self.config.most
        return [items[place] for place in sorted(rng.permutation(len(items))[: self.config.most].tolist())]


def content_words(words: Sequence[Word]) -> list[Word]:
    """Nouns, verbs and adjectives: words that can be replaced by others."""
    return [word for word in words if word.part in ("noun", "verb", "adjective") and word.text.isalpha()]
