"""Evolved Policy Gradients (Houthooft et al., NeurIPS 2018): sizes of the loss and of its agents.

Defaults are the paper's, or its authors' code where that is silent. Validation as in `hyperparams`.
"""

from __future__ import annotations

from dataclasses import dataclass

from metagenrl.learner.hyperparams import require

SHORTEST_BUFFER = 21
"""Steps that the two temporal convolutions need: 6 + (4 - 1) * 5."""


@dataclass(frozen=True)
class EpgConfig:
    """An agent that a loss network trains; a snapshot of the loss carries all of it."""

    observation_size: int
    """Observations are zero-padded to this size before the loss sees them."""
    action_size: int
    """Actions, means and log standard deviations are zero-padded to this size."""
    policy_units: int = 64
    """Units of both hidden layers of the policy and of PPO's value function."""
    memory_units: int = 32
    """Units of the memory, a vector that is trained along with the policy."""
    update_every: int = 64
    """Environment steps between updates of the policy, and the steps that an update is about."""
    buffer_size: int = 512
    """Newest steps that the temporal convolution sees."""
    minibatch_size: int = 32
    """Steps of a minibatch; each of an update's steps is in one."""
    inner_learning_rate: float = 1e-3
    """Adam's step size for policy and memory."""
    gamma: float = 0.99
    """Discount of the PPO loss."""
    gae_lambda: float = 0.95
    """Lambda of the PPO loss's advantages."""
    clip: float = 0.2
    """PPO's bound on the change of the action's probability."""
    kl_weight: float = 0.001
    """Weight of the divergence from the former policy in the PPO loss."""

    def __post_init__(self) -> None:
        for field in ("observation_size", "action_size", "policy_units", "memory_units"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "a whole number >= 1")
        for field in ("update_every", "minibatch_size"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "a whole number >= 1")
        least = max(SHORTEST_BUFFER, self.update_every)
        require(
            self.buffer_size >= least,
            "buffer_size",
            self.buffer_size,
            f"at least {least} (the convolutions' reach, update_every)",
        )
        require(
            self.inner_learning_rate > 0,
            "inner_learning_rate",
            self.inner_learning_rate,
            "a number > 0",
        )
        for field in ("gamma", "gae_lambda"):
            value = getattr(self, field)
            require(0.0 <= value <= 1.0, field, value, "a number in [0, 1]")
        require(0.0 < self.clip < 1.0, "clip", self.clip, "a number in (0, 1)")
        require(self.kl_weight >= 0, "kl_weight", self.kl_weight, "a number >= 0")

    def check_fits(self, env: str, observation_size: int, action_size: int) -> None:
        """Raise `ValueError`, one line, where an environment is larger than the padding."""
        require(
            observation_size <= self.observation_size and action_size <= self.action_size,
            "env",
            f"{env} ({observation_size} observations, {action_size} actions)",
            f"at most {self.observation_size} observations and {self.action_size} actions, which "
            "the loss is padded to",
        )

    @property
    def features(self) -> int:
        """Numbers that the loss sees of a step.

        Observation, action, reward, exploration bonus, end of the episode, the policy's mean and
        log standard deviation, memory.
        """
        return self.observation_size + 3 * self.action_size + 3 + self.memory_units
