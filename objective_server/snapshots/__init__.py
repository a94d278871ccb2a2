"""A version of the objective as a file, and which one is meant."""
