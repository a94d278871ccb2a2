"""`metagenrl experiment` and `metagenrl sweep`."""
