"""`metagenrl compare`: runs side by side."""
