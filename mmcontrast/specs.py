"""What a tower asks of the loader."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt

from mmcontrast.config import Count, config

Short = Literal["pad", "repeat", "repeat_pad"]
Long = Literal["start", "center", "windows"]


@config
class ClipLength:
    """What is heard of a sound that is not as long as a tower's window, wherever nothing is left to chance."""

    short: Short = "pad"  # zeros at the end; repeated to the end; repeated while it fits whole, then zeros
    long: Long = "start"  # one window; or the mean of the embeddings of several
    overlap: Annotated[float, Ge(0), Lt(1)] = 0.0  # with windows: the least share of one that two neighbours share
    most_windows: Count = 64  # of one sound; a longer one's are spread evenly over it
    fewest_windows: Count = 1  # of a sound that is longer than one

    def __post_init__(self) -> None:
        if self.fewest_windows > self.most_windows:
            raise ValueError(f"fewest_windows {self.fewest_windows} is over most_windows = {self.most_windows}.")

    def in_words(self) -> dict[str, str]:
        """What happens to shorter and to longer sounds."""
        short = {
            "pad": "zeros at the end",
            "repeat": "repeated to the end of the window",
            "repeat_pad": "repeated as often as it fits whole, then zeros",
        }
        long = {
            "start": "the first samples",
            "center": "the middle samples",
            "windows": f"the mean of the embeddings of {self._counts()} windows over all of it",
        }
        return {"shorter": short[self.short], "longer": long[self.long]}

    def _counts(self) -> str:
        if self.fewest_windows == self.most_windows:
            return str(self.most_windows)
        least = f"{self.fewest_windows} or more, " if self.fewest_windows > 1 else ""
        return f"{least}up to {self.most_windows}"


@dataclass(frozen=True, kw_only=True)
class PatchSequence:
    """Pictures keep their shape: each becomes as many square patches as fit a budget."""

    patch: int  # pixels of a side
    tokens: int  # most patches of a picture, and what a batch is padded to
    train_tokens: tuple[int, ...] = ()  # one of these instead is drawn for each step of training; none: always tokens


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """The loader brings uint8 pictures of shape (B, 3, size, size); towers normalise them themselves.

    With ``sequence`` it brings patches instead, as :func:`mmcontrast.data.transforms.sequence.padded` lays them out.
    """

    size: int  # pixels
    sequence: PatchSequence | None = None

    def at(self, tokens: int | None) -> ImageSpec:
        """The same with another budget of patches, where there is one."""
        if self.sequence is None or tokens is None:
            return self
        return replace(self, sequence=replace(self.sequence, tokens=tokens))


@dataclass(frozen=True, kw_only=True)
class AudioSpec:
    """The loader brings mono float32 waveforms in [-1, 1], (B, seconds * sample_rate_hz), or ``fusion``'s dict."""

    sample_rate_hz: int
    seconds: float
    length: ClipLength = field(default=ClipLength(), compare=False)  # of shorter and longer sounds; no input's shape
    fusion: Any = None  # config of the four spectrograms that come instead (mmcontrast.front_ends.fusion); none

    @property
    def samples(self) -> int:
        """Waveform length."""
        return round(self.seconds * self.sample_rate_hz)

    @property
    def read_seconds(self) -> float | None:
        """How much of a sound has to be decoded, from its start on, for what inference hears of it; None: all of it.

        A little more than the window: resampling hears beyond its end, and a longer sound is told from one that fits.
        """
        return self.seconds + 0.25 if self.fusion is None and self.length.long == "start" else None


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """The loader brings int64 token ids of shape (B, T), T at most ``context_length``, trimmed to the longest."""

    tokenizer: Any  # a tokenizer's Config
    context_length: int


InputSpec = ImageSpec | AudioSpec | TextSpec
