"""Small classifiers on frozen embeddings: tensors in, tensors out, deterministic, in float64."""
