"""Weights & Biases, which is imported in this folder alone."""
