"""How ``dedup`` recognises a row again: one kind of signature a file, registered in ``SIGNATURES``."""

from mmcontrast.registry import Registry

SIGNATURES = Registry("signature", "data_pipelines.signatures")
