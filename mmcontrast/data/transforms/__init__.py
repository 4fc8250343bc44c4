"""Cheap, random, per-epoch changes of decoded samples."""
