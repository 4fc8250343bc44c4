"""Sounds that are the same recording: sub-fingerprints of energy differences between bands and frames."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from data_pipelines.media import Look
from data_pipelines.signatures import SIGNATURES
from data_pipelines.signatures.base import Pair, Signature
from mmcontrast.config import Count, Fraction, config
from mmcontrast.data.decode import resample

RATE = 5512  # Hz, as the source's 5 kHz
FRAME_SECONDS = 0.37
HOP_SECONDS = 0.0116
BANDS = 33
LOW_HZ, HIGH_HZ = 300.0, 2000.0
MAX_COMMON = 200  # sub-fingerprints of more clips than this are stop words: silence, a hum
QUIET = 1e-3  # of the loudest frame: what dies away or hums below it is no evidence
DISTINCT = 0.5  # of min_frames: so many different sub-fingerprints both overlaps must hold
NONE = np.uint32(0)


@SIGNATURES.register("audio_fingerprint")
class AudioFingerprint(Signature):
    """Sounds whose 32-bit sub-fingerprints agree, at some shift, up to a rate of bit errors.

    Source: Haitsma & Kalker 2002, "A Highly Robust Audio Fingerprinting System", ISMIR, section 4: 33 bands from 300
    to 2000 Hz, frames of 0.37 s every 11.6 ms, the sign of the difference between neighbouring bands and frames; two
    clips are one recording under a bit error rate of 0.35.  The default is lower: clips are often
    under their 3 s.  What sounds for less than half a second, or dies away at once, is not compared.
    """

    @config
    class Config:
        """How alike."""

        bit_error_rate: Fraction = 0.2  # at most; the source's threshold for 3 s of music is 0.35
        min_frames: Count = 40  # of overlap that are compared (11.6 ms each)
        max_frames: Count = 512  # of a clip that are kept, from its start (512 are 6 s)

    def reads(self) -> tuple[str, ...]:
        """The one column."""
        return ("audio",)

    def sign(self, looks: Sequence[Look]) -> np.ndarray:
        """Sub-fingerprints, shape (rows, max_frames), zero where there is none."""
        result = np.zeros((len(looks), self.config.max_frames), dtype=np.uint32)
        for place, look in enumerate(looks):
            if look.has("audio"):
                found = sub_fingerprints(resample(look.sound.wave, from_hz=look.sound.rate_hz, to_hz=RATE))
                result[place, : len(found)] = found[: self.config.max_frames]
        return result

    def pairs(self, signatures: Sequence[np.ndarray]) -> Iterator[Pair]:
        """Clips that share sub-fingerprints at one shift, verified over their whole overlap."""
        table = np.concatenate(signatures)
        where: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for clip, words in enumerate(table):
            votes: Counter[tuple[int, int]] = Counter()
            # Only where the word changes: a steady tone would vote for every shift of every other steady tone.
            changes = np.flatnonzero((words != NONE) & (words != np.r_[NONE, words[:-1]]))
            for frame in changes:
                known = where[int(words[frame])]
                if len(known) <= MAX_COMMON:
                    votes.update((other, int(frame) - there) for other, there in known)
            yield from self._matches(table, clip, votes)
            for frame in changes:
                where[int(words[frame])].append((clip, int(frame)))

    def _matches(self, table: np.ndarray, clip: int, votes: Counter[tuple[int, int]]) -> Iterator[Pair]:
        best: dict[int, float] = {}
        for (other, shift), _ in votes.most_common(64):
            rate = self._error_rate(table[other], table[clip], shift)
            if rate is not None and rate <= best.get(other, self.config.bit_error_rate):
                best[other] = rate
        for other, rate in sorted(best.items()):
            yield Pair(other, clip, f"{100 * rate:.0f}% of the bits differ")

    def _error_rate(self, first: np.ndarray, second: np.ndarray, shift: int) -> float | None:
        """Bit error rate where ``second[frame]`` lies over ``first[frame - shift]``."""
        frames = len(first) - abs(shift)
        if frames < self.config.min_frames:
            return None
        one = first[max(0, -shift) :][:frames]
        other = second[max(0, shift) :][:frames]
        both = (one != NONE) & (other != NONE)
        if both.sum() < self.config.min_frames:
            return None
        if min(len(np.unique(each[both])) for each in (one, other)) < DISTINCT * self.config.min_frames:
            return None  # steady on both sides: few words, each said many times, prove little
        return float(np.bitwise_count(one[both] ^ other[both]).mean() / 32)


def sub_fingerprints(wave: np.ndarray) -> np.ndarray:
    """32-bit sub-fingerprints of a 5,512 Hz waveform; empty for under a frame, zero where the frame is silent."""
    size, hop = round(FRAME_SECONDS * RATE), round(HOP_SECONDS * RATE)
    if len(wave) < size + hop:
        return np.zeros(0, dtype=np.uint32)
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2  # (F, bins)
    edges = np.geomspace(LOW_HZ, HIGH_HZ, BANDS + 1) * size / RATE
    starts = np.round(edges).astype(int)
    energy = np.add.reduceat(power, starts, axis=1)[:, :BANDS]  # (F, 33)
    change = np.diff(np.diff(energy, axis=1), axis=0)  # (F - 1, 32), equation 1
    bits = (change < 0).astype(np.uint32)
    words = (bits << np.arange(32, dtype=np.uint32)).sum(axis=1, dtype=np.uint32)
    loud = energy.sum(axis=1)
    silent = loud[1:] < max(1e-6, QUIET * float(loud.max()))
    return np.where(silent, NONE, words)
