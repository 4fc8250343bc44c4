"""Makers of frozen probes from any captioned or labelled set: one kind a file, registered in ``MAKERS``."""

from mmcontrast.registry import Registry

MAKERS = Registry("probe", "mmcontrast.probes")
