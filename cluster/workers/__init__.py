"""Ray workers that are forked from one process with everything imported, on a Ray of our own."""
