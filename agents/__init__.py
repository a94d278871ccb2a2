"""What a member of the population owns: environment, replay, networks and its updates."""
