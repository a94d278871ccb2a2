"""What a run is on disk: names, rows, checkpoints, resume rules."""
