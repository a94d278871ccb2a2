"""States as files that are complete or absent."""
