"""`metagenrl objective show | list | card`."""
