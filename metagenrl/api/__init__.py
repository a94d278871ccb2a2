"""What users import from `metagenrl`: the objective for their own agents, commands, runs."""
