"""Captions made wrong on purpose: one way a file, registered in ``PERTURBATIONS``."""

from mmcontrast.registry import Registry

PERTURBATIONS = Registry("perturbation", "data_pipelines.perturbations")
