"""Probe a model, train it on what it missed, and probe it again."""
