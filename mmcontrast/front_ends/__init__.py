"""Waveforms to spectrograms: what stands before the first weight of a tower of sounds.

``log_mel`` and ``kaldi_fbank`` have every parameter as a field.  The other names are these two with the values, and
the quirks, of published models: ``laion``, ``laion_fusion``, ``msclap_2022``, ``msclap_2023``, ``imagebind``, ``ast``,
``beats``, ``whisper``.
"""

from __future__ import annotations

from typing import Annotated, Any

from mmcontrast.config import OneOf
from mmcontrast.registry import Registry

FRONT_ENDS = Registry("front end", "mmcontrast.front_ends")
AnyFrontEnd = Annotated[Any, OneOf(FRONT_ENDS, default="log_mel")]  # a field: a map without a type is a log_mel's
