"""Reaching a running population from another process."""
