"""How ``subset`` chooses among rows: one way a file, registered in ``SELECTIONS``."""

from mmcontrast.registry import Registry

SELECTIONS = Registry("selection", "data_pipelines.selections")
