"""Training: one loop for all networks, from samples to a checkpoint."""
