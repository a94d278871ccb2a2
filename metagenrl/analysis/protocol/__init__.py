"""How objectives are compared: two numbers a run, normalised scores, the meta-seed as the unit."""
