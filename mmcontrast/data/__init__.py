"""Sources, mixtures, decoding and collation."""
