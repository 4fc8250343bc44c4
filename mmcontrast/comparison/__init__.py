"""Several objectives under one setup: ``mmcontrast compare``."""
