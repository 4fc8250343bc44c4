"""What shorter, coarser and sparser embeddings cost: accuracy, bytes and queries a second of each."""
