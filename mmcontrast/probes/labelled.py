"""Base of the makers that put rows together: things with names, drawn in pairs of different names."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mmcontrast.config import Count, config
from mmcontrast.data.order import generator
from mmcontrast.data.shards import resolve
from mmcontrast.errors import ConfigError, SkipSample
from mmcontrast.language.words import articled
from mmcontrast.probes.base import Maker, MakerConfig, captions_at


@config
class LabelledConfig(MakerConfig):
    """Fields of makers that put rows together."""

    field: str | None = None  # field that names what is seen or heard; null: as for captions
    articles: bool = True  # put "a" or "an" before names that have neither
    pairs: str | None = None  # JSON list of pairs of names: no others are put together; package:NAME works
    items: Count = 200  # of each category, at most
    most_words: Count = 4  # of a name; longer ones are captions, and are left out


@dataclass(frozen=True)
class Thing:
    """A row with a name."""

    key: str
    name: str  # as the set has it
    said: str  # as captions say it
    position: int


class LabelledMaker(Maker):
    """Draws things of different names, each name equally often first and second."""

    @cached_property
    def things(self) -> dict[str, list[Thing]]:
        """Rows by name, in the order of names.

        Raises:
            ConfigError: fewer than two names.
        """
        found: dict[str, list[Thing]] = defaultdict(list)
        for position in self.positions:
            try:
                name = captions_at(self.collection, position, self.config.field)[0]
            except SkipSample:
                self.counts["unreadable"] += 1
                continue
            if len(name.split()) > self.config.most_words:
                self.counts["long_name"] += 1
            elif not name.replace(" ", "").replace("-", "").replace("'", "").replace("’", "").isalnum():
                self.counts["name_with_marks"] += 1
            else:
                said = articled(name) if self.config.articles else name
                found[name].append(Thing(self.collection.key(position), name, said, position))
        if len(found) < 2:
            raise ConfigError(
                f"'{self.collection.name}': {len(found)} name(s) in field '{self.config.field or 'caption'}', and "
                f"putting things together needs two. Left out: {dict(self.counts)}."
            )
        return dict(sorted(found.items()))

    def usable(self, thing: Thing) -> bool:
        """Whether a row can be put together with others; one that cannot is counted, once."""
        return True

    def rng(self, *parts: object) -> np.random.Generator:
        """Randomness of one decision."""
        return generator("probe", self.config.registry_name, self.config.seed, *parts)

    @cached_property
    def _pairs(self) -> list[tuple[str, str]] | None:
        if self.config.pairs is None:
            return None
        path = resolve(self.config.pairs)
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            pairs = [(str(first), str(second)) for first, second in read]
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"pairs: '{path}' is no JSON list of pairs of names: {error}") from error
        known = [pair for pair in pairs if pair[0] in self.things and pair[1] in self.things]
        if not known:
            raise ConfigError(f"pairs: no pair of '{path}' has both its names in '{self.collection.name}'.")
        return known

    def pairs(self, category: str) -> Iterator[tuple[Thing, Thing]]:
        """Up to ``items`` pairs of different names, in random order, no two of the same names until all were drawn."""
        drawn = 0
        for number, names in enumerate(self._name_pairs(category)):
            two = self._drawn(names, f"{category} {number}")
            if two is None:
                continue
            yield two[0], two[1]
            drawn += 1
            if drawn == self.config.items:
                return

    def several(self, count: int, category: str) -> Iterator[list[Thing]]:
        """Up to ``items`` draws of ``count`` things of different names.

        Raises:
            ConfigError: the set has fewer names.
        """
        names = list(self.things)
        if len(names) < count:
            raise ConfigError(f"'{self.collection.name}' has {len(names)} names; '{category}' puts {count} together.")
        for number in range(self.config.items):
            places = self.rng(category, number).permutation(len(names))[:count]
            found = self._drawn([names[place] for place in places], f"{category} {number}")
            if found is not None:
                yield found

    def _drawn(self, names: Sequence[str], what: str) -> list[Thing] | None:
        """One row of each name; None where a name has none that can be used."""
        found = []
        for name in names:
            rows = self.things[name]
            order = self.rng(what, name).permutation(len(rows))
            thing = next((rows[place] for place in order if self.usable(rows[place])), None)
            if thing is None:
                return None
            found.append(thing)
        return found

    def _name_pairs(self, category: str) -> Iterator[tuple[str, str]]:
        rng = self.rng(category, "pairs")
        if self._pairs is not None:
            for turn in range(2):
                for place in rng.permutation(len(self._pairs)):
                    first, second = self._pairs[place]
                    yield (first, second) if (int(place) + turn) % 2 else (second, first)
            return
        names = list(self.things)
        # Every round is a random ring: each name is first once and second once.
        for _ in range(max(1, 2 * self.config.items // len(names) + 2)):
            ring = [names[place] for place in rng.permutation(len(names))]
            yield from zip(ring, [*ring[1:], ring[0]], strict=True)
