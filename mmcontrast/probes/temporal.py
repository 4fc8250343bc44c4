"""Is order in time heard?  Labelled sounds, alone, one after the other and at once, in five levels."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Len

from mmcontrast.config import Count, Positive, config
from mmcontrast.data.decode import decode_audio
from mmcontrast.errors import SkipSample
from mmcontrast.evaluate.recipes import Sound, SoundPart
from mmcontrast.language.events import TAUGHT, UNSEEN, Connective
from mmcontrast.probe_file import ProbeItem
from mmcontrast.probes import MAKERS
from mmcontrast.probes.labelled import LabelledConfig, LabelledMaker, Thing

SEARCH_HZ = 8000  # rate at which the loudest stretch of a clip is looked for
LEAST_HEARD = 0.5  # of its stretch that a clip must last
SILENCE = 1e-4  # root mean square of full scale
COMPA_FILE = "CompA_order_benchmark.csv"


@MAKERS.register("temporal")
class Temporal(LabelledMaker):
    """Five levels: one event, two at once, which was first, first or at once, and other words or three events.

    1 ``one event``: its name among ``choices``.  2 ``both of two``: both names among ``choices``, of two at once.
    3 ``order``: a then b, and b then a, with their captions; by "before", "after" or "then", so that the event named
    first is not always the first heard.  4 ``before, after or while``: both orders and both at once.  5 ``other
    words`` (connectives that no shipped recipe trains on), and ``three events``, among all six orders.

    Each event is the loudest stretch of its clip; all sounds last ``seconds``.  With ``files``, the sounds are written
    beside the items as WAV, and levels 4's in CompA's form.

    Source: after the five tasks of Sinha et al. 2024, TeminAL, arXiv:2408.13851 (ZSTE), whose exact definitions we
    have not seen; Ghosh et al. 2024, CompA, arXiv:2310.08753 (order pairs, and triplets with the overlap).
    """

    modalities: ClassVar[tuple[str, ...]] = ("audio",)

    @config
    class Config(LabelledConfig):
        """Fields of the maker."""

        seconds: Positive = 10.0  # of every sound: no longer than what the towers hear, else they are refused
        levels: Annotated[tuple[Literal[1, 2, 3, 4, 5], ...], Len(1)] = (1, 2, 3, 4, 5)  # that are made
        choices: Count = 10  # names to choose among in levels 1 and 2
        sample_rate_hz: Count = 48000
        rms_db: float | None = -23.0  # every event is scaled to this level; null: as loud as it is
        files: bool = False  # write WAV files too, and CompA's table

    def items(self) -> Iterator[ProbeItem]:
        """Make the levels that are asked for."""
        levels: dict[int, list[Callable[[], Iterator[ProbeItem]]]] = {
            1: [self._one_event],
            2: [self._both_of_two],
            3: [lambda: self._orders("3 order", [each for each in TAUGHT if each.order == "sequence"])],
            4: [self._relations],
            5: [
                lambda: self._orders("5 other words", [each for each in UNSEEN if each.order == "sequence"]),
                self._three_events,
            ],
        }
        for level in sorted(set(self.config.levels)):
            for make in levels[level]:
                yield from make()
        self.counts["names"] = len(self.things)

    # ------------------------------------------------------------------- levels

    def _one_event(self) -> Iterator[ProbeItem]:
        for number, things in enumerate(self.several(self._choices(1), "1 one event")):
            yield self._item(
                "1 one event", number, [self._at_once([things[0]])], [each.said for each in things], [[0]]
            )

    def _both_of_two(self) -> Iterator[ProbeItem]:
        for number, things in enumerate(self.several(self._choices(2), "2 both of two")):
            said = [each.said for each in things]
            yield self._item("2 both of two", number, [self._at_once(things[:2])], said, [[0, 1]])

    def _orders(self, category: str, connectives: Sequence[Connective]) -> Iterator[ProbeItem]:
        for number, (first, second) in enumerate(self.pairs(category)):
            words = connectives[number % len(connectives)]
            sounds = [self._in_turn([first, second]), self._in_turn([second, first])]
            texts = [words.say(first.said, second.said), words.say(second.said, first.said)]
            yield self._item(category, number, sounds, texts, [[0], [1]], words=words.template)

    def _relations(self) -> Iterator[ProbeItem]:
        before, after = TAUGHT[0], TAUGHT[1]
        overlap = next(each for each in TAUGHT if each.order == "overlap")
        for number, (first, second) in enumerate(self.pairs("4 before, after or while")):
            sounds = [
                self._in_turn([first, second]),
                self._in_turn([second, first]),
                self._at_once([first, second]),
            ]
            # The names stand in one order throughout: the connective alone tells.
            texts = [
                before.say(first.said, second.said),
                after.say(second.said, first.said),
                overlap.say(first.said, second.said),
            ]
            yield self._item("4 before, after or while", number, sounds, texts, [[0], [1], [2]])

    def _three_events(self) -> Iterator[ProbeItem]:
        for number, things in enumerate(self.several(3, "5 three events")):
            orders = list(permutations(things))
            texts = [f"{one.said} then {two.said} then {three.said}" for one, two, three in orders]
            sounds = [self._in_turn(things), self._in_turn(things[::-1])]
            yield self._item("5 three events", number, sounds, texts, [[0], [len(orders) - 1]])

    def _item(
        self,
        category: str,
        number: int,
        sounds: list[Sound],
        texts: list[str],
        right: list[list[int]],
        **fields: Any,
    ) -> ProbeItem:
        rows = sorted({part.row for sound in sounds for part in sound.parts})
        return ProbeItem(
            id=f"{category} {number:05d}", category=category, contexts=[{"sound": asdict(each)} for each in sounds],
            texts=texts, right=right, cluster=" ".join(rows), fields=fields,
        )  # fmt: skip

    def _choices(self, least: int) -> int:
        return max(least + 1, min(self.config.choices, len(self.things)))

    # ------------------------------------------------------------------- sounds

    def usable(self, thing: Thing) -> bool:
        """Whether a clip fills half of the longest sound, is not silent, and decodes."""
        return self._start(thing.position, thing.key, self.config.seconds) is not None

    def _in_turn(self, things: Sequence[Thing]) -> Sound:
        return self._sound(things, self.config.seconds / len(things), in_turn=True)

    def _at_once(self, things: Sequence[Thing]) -> Sound:
        return self._sound(things, self.config.seconds, in_turn=False)

    def _sound(self, things: Sequence[Thing], seconds: float, *, in_turn: bool) -> Sound:
        parts = [
            SoundPart(
                row=thing.key,
                at_seconds=round(place * seconds, 6) if in_turn else 0.0,
                seconds=round(seconds, 6),
                start_seconds=self._start(thing.position, thing.key, seconds) or 0.0,
                rms_db=self.config.rms_db,
            )
            for place, thing in enumerate(things)
        ]
        return Sound(sample_rate_hz=self.config.sample_rate_hz, seconds=self.config.seconds, parts=parts)

    def _start(self, position: int, key: str, seconds: float) -> float | None:
        """Where the loudest stretch of a clip begins; None for one that is silent, damaged or too short."""
        known = self._starts.get((position, seconds))
        if known is None:
            known = self._starts[position, seconds] = self._found(position, key, seconds)
        return None if known < 0 else known

    @cached_property
    def _starts(self) -> dict[tuple[int, float], float]:
        return {}

    def _found(self, position: int, key: str, seconds: float) -> float:
        try:
            wave = _searched(self.collection.content(position, "audio"), key)
        except SkipSample:
            self.counts["unreadable"] += 1
            return -1.0
        start = loudest_stretch(wave, round(seconds * SEARCH_HZ))
        if start is None:
            least = round(LEAST_HEARD * seconds * SEARCH_HZ)
            self.counts["clip_too_short" if len(wave) < least else "silent"] += 1
            return -1.0
        return round(start / SEARCH_HZ, 3)

    # ------------------------------------------------------------------- files

    def write_beside(self, folder: Path, items: Sequence[ProbeItem]) -> None:
        """Write the sounds, and CompA's table of the fourth level."""
        if not self.config.files:
            return
        place = {self.collection.key(position): position for position in self.positions}
        (folder / "sounds").mkdir(exist_ok=True)
        rows = []
        for item in items:
            names = []
            for number, context in enumerate(item.contexts):
                name = f"sounds/{item.id.replace(' ', '_').replace(',', '')}_{number}.wav"
                recipe = Sound.of(context["sound"], where=item.id)
                content = recipe.content(lambda key: self.collection.content(place[key], "audio"))
                (folder / name).write_bytes(content)
                names.append(Path(name).name)
            if len(item.contexts) == 3:
                rows.append([*item.texts, *names])
        if rows:
            with (folder / COMPA_FILE).open("w", encoding="utf-8", newline="") as stream:
                table = csv.writer(stream)
                captions = ("pair_caption", "reversed_pair_caption", "triplet_caption")
                table.writerow([*captions, "pair_file", "reversed_pair_file", "triplet_file"])
                table.writerows(rows)


def loudest_stretch(wave: np.ndarray, samples: int) -> int | None:
    """First sample of the stretch with the most energy; None if it is silent or lasts less than half of it."""
    if len(wave) < LEAST_HEARD * samples:
        return None
    ends = np.concatenate([[0.0], np.cumsum(wave.astype(np.float64) ** 2)])
    length = min(samples, len(wave))
    energy = ends[length:] - ends[:-length]
    start = int(energy.argmax())
    return None if np.sqrt(energy[start] / length) < SILENCE else start


def _searched(content: bytes, key: str) -> np.ndarray:
    return decode_audio(content, key=key, sample_rate_hz=SEARCH_HZ)
