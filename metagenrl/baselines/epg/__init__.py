"""Evolved Policy Gradients: loss, agent, evolution."""
