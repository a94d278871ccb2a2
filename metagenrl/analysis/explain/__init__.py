"""`metagenrl explain`: what a learned objective has learned."""
