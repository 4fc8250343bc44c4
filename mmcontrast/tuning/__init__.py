"""What of a tower is trained and how it is computed: freezing, adapters, recomputed activations, compilation."""
