"""Scores in, numbers out: pure functions with no model and no file, in float32 or better, ties counted as wrong."""
