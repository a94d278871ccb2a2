"""Algorithm 1, outer loop; failures; scaling."""
