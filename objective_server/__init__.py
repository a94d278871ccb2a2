"""The objective server: alpha, its optimiser, versions, staleness and snapshots (no Ray)."""
