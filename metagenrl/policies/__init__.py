"""Trained policies: kept as files, run, filmed, exported."""
