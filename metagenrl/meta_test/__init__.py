"""`metagenrl test` and `baseline`: lone agents in processes."""
