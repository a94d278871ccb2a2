"""How the agents of one environment and configuration are computed."""
