"""Exact losses over all pairs of a global batch that never hold the matrix of logits, and pass keys round a ring."""
