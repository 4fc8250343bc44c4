"""What a run needs of memory on each rank, before any GPU is asked for."""
