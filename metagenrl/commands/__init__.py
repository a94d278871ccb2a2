"""Words of a command line to one call; what a command needs is imported here, when it runs."""
