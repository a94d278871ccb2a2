"""PPO and RL^2 on RLlib, which is imported in this folder alone."""
