"""What ``filter`` measures and judges: one filter a file, registered in ``FILTERS``."""

from mmcontrast.registry import Registry

FILTERS = Registry("filter", "data_pipelines.filters")
