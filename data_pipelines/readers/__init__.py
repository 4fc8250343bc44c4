"""What ``pack`` reads: one layout of raw data a file, registered in ``READERS``."""

from mmcontrast.registry import Registry

READERS = Registry("reader", "data_pipelines.readers")
