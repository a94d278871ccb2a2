"""`metagenrl report`: runs and their meta-tests as one page and its pictures."""
