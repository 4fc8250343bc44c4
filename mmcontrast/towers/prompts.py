"""Text towers that read vectors in front of a caption's words."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float, Int
from torch import Tensor

from mmcontrast.types import Features


class ReadsPrompts(ABC):
    """A text tower before whose words vectors can stand, through which gradients reach them.

    A prompt is a vector in the place of a word's, as wide as one.  It stands before the caption's first token.
    """

    @abstractmethod
    def words(self, values: Int[Tensor, "B T"]) -> Float[Tensor, "B T prompt_width"]:
        """What stands for each id before the first block."""

    @abstractmethod
    def prompted(self, values: Int[Tensor, "B T"], prompts: Float[Tensor, "B K prompt_width"]) -> Features:
        """Encode B captions, each with K vectors in front; tokens begin with those of the prompts."""
