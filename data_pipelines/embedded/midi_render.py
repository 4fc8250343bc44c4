"""Play General MIDI instruments of a soundfont through fluidsynth into waveforms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.embedded.sound_files import RATE, faded
from mmcontrast.errors import MissingPackage, ShardError

FAMILIES: dict[str, list[str]] = json.loads((Path(__file__).parent / "general_midi.json").read_text(encoding="utf-8"))
INSTRUMENTS = [name for names in FAMILIES.values() for name in names]  # position = MIDI program
FAMILY_OF = {name: family for family, names in FAMILIES.items() for name in names}
REGISTERS = {"low": (36, 47), "mid": (55, 66), "high": (74, 85)}  # MIDI notes
DYNAMICS = {"soft": (36, 50), "medium": (70, 86), "loud": (110, 126)}  # MIDI velocities
PATTERNS = ("single note", "repeated note", "rising notes", "falling notes", "chord")
SCALE = (0, 2, 4, 7)  # steps of a rising pattern, in semitones


@dataclass(frozen=True, kw_only=True)
class Note:
    """One key press."""

    key: int
    velocity: int
    start_seconds: float
    seconds: float


class Player:
    """One soundfont, played from silence for every clip."""

    def __init__(self, font: Path) -> None:
        """Load the soundfont.

        Raises:
            MissingPackage: pyfluidsynth, or the fluidsynth library it wraps, is not installed.
            ShardError: the soundfont is missing or does not load.
        """
        try:
            import fluidsynth
        except ImportError as error:
            raise MissingPackage(
                "rendering needs fluidsynth: the Debian package 'fluidsynth' and pip install 'mmcontrast[pipelines]'."
            ) from error
        if not font.is_file():
            raise ShardError(
                f"no soundfont at '{font}'. FluidR3 is the Debian package 'fluid-soundfont-gm', MuseScore General "
                "is 'musescore-general-soundfont-small'."
            )
        self._synth: Any = fluidsynth.Synth(gain=0.6, samplerate=float(RATE))
        self._font = self._synth.sfload(str(font))
        if self._font < 0:
            raise ShardError(f"'{font}' is not a soundfont that fluidsynth reads.")

    def play(self, program: int, notes: list[Note], *, seconds: float) -> np.ndarray:
        """Render notes of one instrument as mono float32 at 16 kHz."""
        synth = self._synth
        synth.system_reset()
        synth.program_select(0, self._font, 0, program)
        events = [(note.start_seconds, True, note) for note in notes]
        events += [(note.start_seconds + note.seconds, False, note) for note in notes]
        parts, done = [], 0
        total = round(seconds * RATE)
        for when, press, note in sorted(events, key=lambda event: (event[0], event[1])):
            until = min(round(when * RATE), total)
            if until > done:
                parts.append(synth.get_samples(until - done))
                done = until
            if press:
                synth.noteon(0, note.key, note.velocity)
            else:
                synth.noteoff(0, note.key)
        if total > done:
            parts.append(synth.get_samples(total - done))
        stereo = np.concatenate(parts).reshape(-1, 2).astype(np.float32) / 32768
        return faded(stereo.mean(axis=1), samples=total)


def notes_of(pattern: str, register: str, dynamics: str, *, seconds: float, rng: np.random.Generator) -> list[Note]:
    """Draw the notes of a pattern within a register and a range of velocities."""
    low, high = REGISTERS[register]
    root = int(rng.integers(low, high + 1))
    velocity = int(rng.integers(DYNAMICS[dynamics][0], DYNAMICS[dynamics][1] + 1))
    length = seconds * float(rng.uniform(0.75, 0.9))
    if pattern == "single note":
        return [Note(key=root, velocity=velocity, start_seconds=0.0, seconds=length)]
    if pattern == "chord":
        return [Note(key=root + step, velocity=velocity, start_seconds=0.0, seconds=length) for step in (0, 4, 7)]
    count = int(rng.integers(3, 5))
    steps = {"repeated note": (0,) * 4, "rising notes": SCALE, "falling notes": SCALE[::-1]}[pattern][:count]
    each = length / count
    return [
        Note(key=root + step, velocity=velocity, start_seconds=place * each, seconds=0.9 * each)
        for place, step in enumerate(steps)
    ]
