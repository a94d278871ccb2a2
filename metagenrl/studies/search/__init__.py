"""A sweep whose next point depends on the scores of those before."""
