"""Render General MIDI instruments with captions into shards: single instruments, and one after another.

Sets: ``instruments-train`` (singles and sequences of the training font), ``instruments-unseen-font`` (singles of the
test font), ``sequences-seen-font`` and ``sequences-unseen-font`` (pairs of instruments held out of training, in both
orders).  The same soundfonts give the same bytes at every run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.embedded.families import shuffle_order
from data_pipelines.embedded.midi_render import (
    DYNAMICS,
    FAMILY_OF,
    INSTRUMENTS,
    PATTERNS,
    REGISTERS,
    Player,
    notes_of,
)
from data_pipelines.embedded.sound_files import RATE, encode_opus, loudness
from data_pipelines.pack import Sample, write_shards
from mmcontrast.data.manifest import ColumnSpec, Manifest
from mmcontrast.data.source import generator
from mmcontrast.errors import MMContrastError
from mmcontrast.language.words import with_article as an

SECONDS = 2.0
SILENCE = 0.003  # root mean square below which a clip is dropped
HELD_OUT_PAIRS = 400
SEED = "instruments-1"


@dataclass(frozen=True, kw_only=True)
class Font:
    """A soundfont with what its rows say of it."""

    path: Path
    name: str
    source: str  # package and version
    licence: str


@dataclass(frozen=True, kw_only=True)
class Single:
    """One clip of one instrument, before it is rendered."""

    instrument: str
    register: str
    dynamics: str
    pattern: str
    take: int


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """One instrument, then another."""

    first: str
    second: str
    take: int

    @property
    def pair(self) -> str:
        """The two instruments, whatever their order."""
        return "+".join(sorted((self.first, self.second)))


def plan_singles(per_instrument: int, *, salt: str) -> Iterator[Single]:
    """Spread each instrument's clips over patterns, registers and dynamics."""
    every = [(p, r, d) for p in PATTERNS for r in REGISTERS for d in DYNAMICS]
    for instrument in INSTRUMENTS:
        order = generator(SEED, salt, instrument).permutation(len(every))
        # Patterns in turn, so that a few clips already show each of them.
        by_pattern = [[every[i] for i in order if every[i][0] == pattern] for pattern in PATTERNS]
        for take in range(per_instrument):
            column = by_pattern[take % len(PATTERNS)]
            pattern, register, dynamics = column[(take // len(PATTERNS)) % len(column)]
            yield Single(instrument=instrument, register=register, dynamics=dynamics, pattern=pattern, take=take)


def held_out_pairs() -> list[tuple[str, str]]:
    """The unordered pairs, of different families, that training never joins."""
    pairs = [(a, b) for a, b in combinations(INSTRUMENTS, 2) if FAMILY_OF[a] != FAMILY_OF[b]]
    return sorted(pairs, key=lambda pair: shuffle_order(f"held-out {pair[0]}+{pair[1]}"))[:HELD_OUT_PAIRS]


def plan_training_sequences(count: int) -> Iterator[Sequence]:
    """Draw ordered pairs for training, each instrument about equally often first and second."""
    held_out = {frozenset(pair) for pair in held_out_pairs()}
    rng = generator(SEED, "training sequences")
    seen: set[tuple[str, str]] = set()
    while len(seen) < count:
        for first, second in zip(rng.permutation(INSTRUMENTS), rng.permutation(INSTRUMENTS), strict=True):
            key = (str(first), str(second))
            apart = FAMILY_OF[key[0]] != FAMILY_OF[key[1]]
            if len(seen) < count and apart and frozenset(key) not in held_out and key not in seen:
                seen.add(key)
                yield Sequence(first=key[0], second=key[1], take=0)


def render_single(player: Player, font: Font, clip: Single) -> Sample | None:
    """Render one single, or nothing when it is nearly silent."""
    rng = generator(SEED, font.name, clip)
    notes = notes_of(clip.pattern, clip.register, clip.dynamics, seconds=SECONDS, rng=rng)
    wave = player.play(INSTRUMENTS.index(clip.instrument), notes, seconds=SECONDS)
    if loudness(wave) < SILENCE:
        return None
    instrument = clip.instrument
    caption = f"{clip.dynamics} {clip.register} {clip.pattern} on {an(instrument)}"
    info = {
        "caption": caption,
        "captions": [caption, an(instrument), f"{clip.pattern} on {an(instrument)}"],
        "kind": "single",
        "instrument": instrument,
        "family": FAMILY_OF[instrument],
        "register": clip.register,
        "dynamics": clip.dynamics,
        "pattern": clip.pattern,
        "font": font.name,
        "licence": font.licence,
        "source": font.source,
    }
    key = f"{font.name}-{INSTRUMENTS.index(instrument):03d}-{clip.take:02d}"
    return Sample(key=key, members={"ogg": encode_opus(wave)}, info=info)


def render_sequence(player: Player, font: Font, clip: Sequence) -> Sample | None:
    """Render one second of each instrument, or nothing when either half is nearly silent."""
    rng = generator(SEED, font.name, clip)
    halves = []
    for instrument in (clip.first, clip.second):
        register = str(rng.choice(list(REGISTERS), p=(0.25, 0.5, 0.25)))
        dynamics = str(rng.choice(("medium", "loud")))
        pattern = str(rng.choice(("single note", "repeated note", "chord")))
        notes = notes_of(pattern, register, dynamics, seconds=SECONDS / 2, rng=rng)
        halves.append(player.play(INSTRUMENTS.index(instrument), notes, seconds=SECONDS / 2))
    if min(loudness(half) for half in halves) < SILENCE:
        return None
    caption = f"{an(clip.first)} then {an(clip.second)}"
    info = {
        "caption": caption,
        "captions": [caption],
        "kind": "sequence",
        "first": clip.first,
        "second": clip.second,
        "pair": clip.pair,
        "font": font.name,
        "licence": font.licence,
        "source": font.source,
    }
    places = (INSTRUMENTS.index(clip.first), INSTRUMENTS.index(clip.second))
    key = f"{font.name}-{places[0]:03d}-{places[1]:03d}-{clip.take:02d}"
    return Sample(key=key, members={"ogg": encode_opus(np.concatenate(halves))}, info=info)


def render(player: Player, font: Font, clips: list[Single | Sequence], *, label: str) -> list[Sample]:
    """Render clips in order, showing progress; name what is dropped."""
    samples: list[Sample] = []
    for number, clip in enumerate(clips, start=1):
        if isinstance(clip, Single):
            sample = render_single(player, font, clip)
        else:
            sample = render_sequence(player, font, clip)
        if sample is None:
            print(f"  dropped, nearly silent: {clip}", file=sys.stderr)
        else:
            samples.append(sample)
        if number % 200 == 0 or number == len(clips):
            print(f"{label}: {number}/{len(clips)} clips", file=sys.stderr)
    return samples


def pack(samples: list[Sample], *, out: Path, name: str, fonts: list[Font]) -> Manifest:
    """Write one set, its rows shuffled by hash."""
    fields = {key for sample in samples for key in sample.info}
    every = {"instrument", "family", "register", "dynamics", "pattern"}
    labels = {} if any(sample.info["kind"] == "sequence" for sample in samples) else {key: key for key in every}
    return write_shards(
        sorted(samples, key=lambda sample: shuffle_order(sample.key)),
        folder=out / name,
        name=name,
        columns={
            "audio": ColumnSpec(modality="audio", extension="ogg"),
            "text": ColumnSpec(modality="text", extension="json", field="captions"),
        },
        labels={key: key for key in sorted(labels) if key in fields},
        made_by={
            "job": "data_pipelines.embedded.instruments",
            "seed": SEED,
            "sample_rate_hz": RATE,
            "fonts": [font.source for font in fonts],
        },
        rows_per_shard=1000,
    )


def build(train: Font, test: Font, *, out: Path, singles: int, sequences: int, test_singles: int) -> list[Manifest]:
    """Render and pack all four sets."""
    player = Player(train.path)
    clips: list[Single | Sequence] = [*plan_singles(singles, salt="train"), *plan_training_sequences(sequences)]
    order = [Sequence(first=a, second=b, take=1) for pair in held_out_pairs() for a, b in (pair, pair[::-1])]
    made = [
        pack(render(player, train, clips, label="train"), out=out, name="instruments-train", fonts=[train]),
        pack(render(player, train, [*order], label="held out"), out=out, name="sequences-seen-font", fonts=[train]),
    ]
    (out / "held_out_pairs.json").write_text(json.dumps(held_out_pairs(), indent=0) + "\n", encoding="utf-8")
    player = Player(test.path)
    clips = [*plan_singles(test_singles, salt="test")]
    return [
        *made,
        pack(render(player, test, clips, label="unseen"), out=out, name="instruments-unseen-font", fonts=[test]),
        pack(render(player, test, [*order], label="unseen"), out=out, name="sequences-unseen-font", fonts=[test]),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Command line of the job."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python -m data_pipelines.embedded.instruments --out mmcontrast/assets/quickstart",
    )
    sounds = Path("/usr/share/sounds")
    parser.add_argument("--train-font", type=Path, default=sounds / "sf2/FluidR3_GM.sf2")
    parser.add_argument(
        "--train-source", default="fluid-soundfont-gm 3.1-5.3", help="package and version, in each row"
    )
    parser.add_argument("--test-font", type=Path, default=sounds / "sf3/MuseScore_General_Lite.sf3")
    parser.add_argument("--test-source", default="musescore-general-soundfont-small 0.2.1-1")
    parser.add_argument("--licence", default="MIT", help="of both soundfonts, in each row")
    parser.add_argument("--out", type=Path, required=True, help="folder that receives one folder a set")
    parser.add_argument("--singles", type=int, default=8, help="training clips of each instrument")
    parser.add_argument("--sequences", type=int, default=1400, help="training sequences")
    parser.add_argument("--test-singles", type=int, default=5, help="test clips of each instrument")
    parsed: Any = parser.parse_args(arguments)
    train = Font(path=parsed.train_font, name="fluid", source=parsed.train_source, licence=parsed.licence)
    test = Font(path=parsed.test_font, name="musescore", source=parsed.test_source, licence=parsed.licence)
    try:
        made = build(
            train,
            test,
            out=parsed.out,
            singles=parsed.singles,
            sequences=parsed.sequences,
            test_singles=parsed.test_singles,
        )
    except MMContrastError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for manifest in made:
        print(f"{manifest.name}: {manifest.rows} rows, {sum(shard.bytes for shard in manifest.shards):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
