"""Many runs as one study: recipes and sweeps, the queue that both share, tables and pictures."""
