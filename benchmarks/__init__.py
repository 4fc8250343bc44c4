"""Speed as ratios against a peer, both measured in one run: ``python -m benchmarks NAME``."""
