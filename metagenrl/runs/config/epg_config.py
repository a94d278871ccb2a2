"""Evolved Policy Gradients (Houthooft et al., NeurIPS 2018): sizes of the loss and of its agents.

Defaults are the paper's, or its authors' code where that is silent. Validation as in `hyperparams`.
"""

from __future__ import annotations

from dataclasses import dataclass

from metagenrl.base.checks import count, require, require_at_least, require_positive

_LAST_RATE = 0.1  # the learning rate from half of the run on, as a share of the first one
SHORTEST_BUFFER = 21
"""Steps that the two temporal convolutions need: 6 + (4 - 1) * 5."""


@dataclass(frozen=True)
class EpgConfig:
    """An agent that a loss network trains; a snapshot of the loss carries all of it."""

    pad_observations: int = 0
    """Observations are zero-padded to this for the loss; 0: to the largest of `envs`."""
    pad_actions: int = 0
    """The same for actions and the policy's means and log standard deviations."""
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
        require_at_least(self, 0, "pad_observations", "pad_actions", "kl_weight")
        require_at_least(self, 1, "policy_units", "memory_units", "update_every", "minibatch_size")
        require_positive(self, "inner_learning_rate")
        least = max(SHORTEST_BUFFER, self.update_every)
        require(
            self.buffer_size >= least,
            "buffer_size",
            self.buffer_size,
            f"at least {least} (the convolutions' reach, update_every)",
        )
        for field in ("gamma", "gae_lambda"):
            value = getattr(self, field)
            require(0.0 <= value <= 1.0, field, value, "a number in [0, 1]")
        require(0.0 < self.clip < 1.0, "clip", self.clip, "a number in (0, 1)")

    @property
    def features(self) -> int:
        """Numbers that the loss sees of a step.

        Observation, action, reward, exploration bonus, end of the episode, the policy's mean and
        log standard deviation, memory.
        """
        return self.pad_observations + 3 * self.pad_actions + 3 + self.memory_units


@dataclass(frozen=True)
class EvolutionConfig:
    """Evolution strategies over the parameters of the loss."""

    generations: int = 2_000
    """Updates of the loss."""
    noise_vectors: int = 64
    """Perturbed losses of a generation; each trains one agent (section B.3)."""
    antithetic: bool = True
    """Take each noise vector with both signs, and the same agent for both."""
    sigma: float = 0.01
    """Standard deviation of the perturbations."""
    learning_rate: float = 1e-2
    """Adam's step size, which falls to a tenth over the first half of the generations."""
    weight_decay: float = 1e-3
    """Pull of the loss's parameters towards 0."""
    ppo_share: float = 0.125
    """Share of the generations over which the weight of the PPO loss falls from 1 to 0."""

    def __post_init__(self) -> None:
        require(self.generations >= 1, "generations", self.generations, "a whole number >= 1")
        require(self.noise_vectors >= 2, "noise_vectors", self.noise_vectors, "at least 2")
        count(noise_vectors=self.noise_vectors)
        require(
            not self.antithetic or self.noise_vectors % 2 == 0,
            "noise_vectors",
            self.noise_vectors,
            "an even number, unless --no-antithetic",
        )
        require(self.sigma > 0, "sigma", self.sigma, "a number > 0")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "a number > 0")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "a number >= 0")
        require(0 <= self.ppo_share <= 1, "ppo_share", self.ppo_share, "a number in [0, 1]")

    def ppo_weight(self, generation: int) -> float:
        """Weight of the PPO loss: 1 at generation 0, 0 from `ppo_share` of the run on."""
        length = self.ppo_share * self.generations
        return max(0.0, 1.0 - generation / length) if length > 0 else 0.0

    def rate(self, generation: int) -> float:
        """Adam's step size."""
        progress = min(1.0, 2 * generation / self.generations)
        return self.learning_rate * (1 - (1 - _LAST_RATE) * progress)
