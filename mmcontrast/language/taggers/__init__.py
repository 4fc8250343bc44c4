"""Parts of speech of English captions: one tagger a file, registered in ``TAGGERS``."""

from mmcontrast.registry import Registry

TAGGERS = Registry("tagger", "mmcontrast.language.taggers")
