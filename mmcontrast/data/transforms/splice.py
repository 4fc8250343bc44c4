"""Two or three clips in one, after each other or at once: events in time without end from clips of single things."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Len

from mmcontrast.config import Fraction, config
from mmcontrast.data.shards import resolve
from mmcontrast.data.transforms.captions import Captions
from mmcontrast.data.transforms.composed import Composed
from mmcontrast.errors import ConfigError
from mmcontrast.language.words import with_article

FADE_SAMPLES = 160


@config
class Splice:
    """Joins a row's clip with clips of other rows, drawn at random, each cut to its share of the window.

    With ``second_field``, clips hold two things already: the first half of one meets the second half of another.
    Rows that lack ``field``, two rows of the same value and excluded pairs are left as they are.

    ``derive: {audio.X: {type: other_order, of: audio}}`` gives the same clips in another order, and with ``of: text``
    their caption: hard negatives of one another.
    """

    probability: Fraction  # how often a row is joined
    field: str  # JSON field that names what is heard, in the first half where there are two
    second_field: str | None = None  # JSON field that names what is heard in the second half of a clip of two
    template: str = "{first} then {second}"  # the caption of one after the other
    more_templates: tuple[str, ...] = ()  # others of the same meaning; one of them all is drawn each time
    overlap: Fraction = 0.0  # how often joined clips are heard at once, each in the whole window
    overlap_templates: Annotated[tuple[str, ...], Len(1)] = ("{first} while {second}",)
    three: Fraction = 0.0  # how often a third clip follows two in turn
    three_templates: Annotated[tuple[str, ...], Len(1)] = ("{first} then {second} then {third}",)
    other: Literal["order", "part"] = "order"  # what other_order gives: another order, or the first clip alone
    articles: bool = True  # put "a" or "an" before the names
    exclude: str | None = None  # JSON file with a list of unordered pairs that are never joined; package:NAME works

    def __post_init__(self) -> None:
        if self.second_field is not None and (self.overlap or self.three or self.other == "part"):
            raise ValueError(
                "second_field: clips of two things follow one another; leave out overlap, three and other."
            )
        for field in ("template", "more_templates", "overlap_templates", "three_templates"):
            value = getattr(self, field)
            names = ("{first}", "{second}", "{third}") if field == "three_templates" else ("{first}", "{second}")
            templates = [value] if isinstance(value, str) else value
            wrong = [template for template in templates if any(template.count(name) != 1 for name in names)]
            if wrong:
                raise ValueError(f"{field}: '{wrong[0]}' should hold each of {', '.join(names)} once.")

    @property
    def templates(self) -> tuple[str, ...]:
        """All captions of one after the other; the first names the meaning."""
        return (self.template, *self.more_templates)

    def parts(self, info: dict[str, Any]) -> tuple[str, str] | None:
        """What a row is called as the first and as the second part; nothing where it lacks a field."""
        names = info.get(self.field), info.get(self.second_field or self.field)
        return None if None in names else (str(names[0]), str(names[1]))

    def said(self, template: str, names: Sequence[str]) -> str:
        """Caption of two or three clips in order."""
        texts = [with_article(name) for name in names] if self.articles else list(names)
        return template.format(**dict(zip(("first", "second", "third"), texts, strict=False)))


def spliced(
    splice: Splice, names: Sequence[str], waves: Sequence[np.ndarray], *, samples: int, rng: np.random.Generator
) -> Composed:
    """Join two or three clips, in turn or at once, with their caption; and the same in another order.

    Args:
        names: what each clip is called.
        samples: length of the window.
    """
    if len(names) == 2 and splice.overlap and rng.random() < splice.overlap:
        return _at_once(splice, names, waves, samples=samples, rng=rng)
    templates = splice.templates if len(names) == 2 else splice.three_templates
    template = _one_of(templates, rng)
    half = splice.second_field is not None

    def in_turn(order: Sequence[int]) -> tuple[np.ndarray, str]:
        ordered = [waves[place] for place in order]
        return joined(ordered, samples=samples, second_half=half), splice.said(template, [names[n] for n in order])

    straight = tuple(range(len(names)))
    wave, caption = in_turn(straight)
    if splice.other == "part":
        other_wave, other_caption = waves[0], splice.said("{first}", names[:1])
    elif half:  # the other order of halves is another row's affair: which clip would give which half?
        return Composed({"audio": wave, "text": Captions([caption])}, {}, splice.said(templates[0], names))
    elif len(names) == 2 and splice.overlap and rng.random() < splice.overlap:
        other_wave = mixed(waves, samples=samples)
        other_caption = splice.said(_one_of(splice.overlap_templates, rng), names)
    else:
        orders = [order for order in permutations(straight) if order != straight]
        other_wave, other_caption = in_turn(orders[int(rng.integers(len(orders)))])
    return Composed(
        {"audio": wave, "text": Captions([caption])},
        {"audio": other_wave, "text": Captions([other_caption])},
        splice.said(templates[0], names),
    )


def _at_once(
    splice: Splice, names: Sequence[str], waves: Sequence[np.ndarray], *, samples: int, rng: np.random.Generator
) -> Composed:
    caption = splice.said(_one_of(splice.overlap_templates, rng), names)
    first, second = sorted(names)  # both directions say the same
    if splice.other == "part":
        other = {"audio": waves[0], "text": Captions([splice.said("{first}", names[:1])])}
    else:
        in_turn = joined(waves, samples=samples)
        other = {"audio": in_turn, "text": Captions([splice.said(_one_of(splice.templates, rng), names)])}
    cells = {"audio": mixed(waves, samples=samples), "text": Captions([caption])}
    return Composed(cells, other, splice.said(splice.overlap_templates[0], (first, second)))


def _one_of(templates: Sequence[str], rng: np.random.Generator) -> str:
    return templates[int(rng.integers(len(templates)))] if len(templates) > 1 else templates[0]


def joined(waves: Sequence[np.ndarray], *, samples: int, second_half: bool = False) -> np.ndarray:
    """Return the starts of waveforms, one after the other, faded at their ends, in equal parts of a window.

    Args:
        second_half: take all but the first from the middle of their window on.
    """
    ends = [samples * (place + 1) // len(waves) for place in range(len(waves))]
    parts, start = [], 0
    for place, (wave, end) in enumerate(zip(waves, ends, strict=True)):
        length = end - start
        wave = wave[start:] if second_half and place else wave
        part = np.zeros(length, dtype=np.float32)
        kept = min(length, len(wave))
        part[:kept] = wave[:kept]
        fade = min(FADE_SAMPLES, length)
        part[length - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
        parts.append(part)
        start = end
    return np.concatenate(parts)


def mixed(waves: Sequence[np.ndarray], *, samples: int) -> np.ndarray:
    """Return the sum of the windows of waveforms, scaled down where it would go over full scale."""
    total = np.zeros(samples, dtype=np.float32)
    for wave in waves:
        kept = min(samples, len(wave))
        total[:kept] += wave[:kept]
    peak = float(np.abs(total).max(initial=0.0))
    return total / peak if peak > 1 else total


@lru_cache(maxsize=8)
def read_excluded(location: str | None) -> frozenset[frozenset[str]]:
    """Read the pairs that are never joined.

    Raises:
        ConfigError: no such file, or not a list of pairs of names.
    """
    if location is None:
        return frozenset()
    path = resolve(location)
    if not path.is_file():
        raise ConfigError(f"no file of excluded pairs at '{path}'.")
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))
        return frozenset(frozenset((str(first), str(second))) for first, second in pairs)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"'{path}' is not a JSON list of pairs of names: {error}") from error
