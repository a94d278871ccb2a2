"""Generations of Evolved Policy Gradients, on Ray or in this process."""
