"""The outer loop of Evolved Policy Gradients: phi moves along its evolution-strategy gradient.

Houthooft et al. 2018, Algorithm 1; where the paper is silent, its authors' code.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from metagenrl.learner.adam import Adam
from metagenrl.learner.evolution import (
    Array32,
    centered_ranks,
    evolution_gradient,
    noise_vectors,
)
from metagenrl.learner.hyperparams import require
from torch import Tensor

_LAST_RATE = 0.1  # the learning rate from half of the run on, as a share of the first one
_BETAS = (0.0, 0.999)  # of Adam: no momentum


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


class LossEvolution:
    """phi [P] and Adam's state; the noise is a function of seed and generation."""

    def __init__(self, config: EvolutionConfig, phi: Tensor, seed: int) -> None:
        self.config, self.phi, self.seed = config, phi, seed
        self.adam = Adam(phi, config.learning_rate, _BETAS)
        self.generation = 0

    def perturbed(self) -> Array32:
        """The losses of this generation: phi + sigma eps, `[V, P]`."""
        return self.phi.numpy() + np.float32(self.config.sigma) * self._noise()

    def agent_seed(self, vector: int) -> int:
        """Seed of the agent that the perturbed loss trains; both of a pair have the same."""
        index = vector // 2 if self.config.antithetic else vector
        key = (self.generation, 1 + index)
        return int(np.random.SeedSequence(self.seed, spawn_key=key).generate_state(1)[0])

    def update(self, fitness: Sequence[float | None], groups: Sequence[Hashable]) -> float:
        """Move phi along the gradient; its norm. `fitness` [V] is None where a loop failed.

        Ranks are taken within each group. Raises `ValueError` where all failed.
        """
        known = [i for i, value in enumerate(fitness) if value is not None]
        require(bool(known), "fitness", "no value", "at least one inner loop that did not fail")
        values = np.array([fitness[i] for i in known], np.float64)
        ranks = centered_ranks(values, [groups[i] for i in known])
        # Ranks have a scale of their own, so sigma is left out (authors' code).
        ascent = torch.from_numpy(evolution_gradient(ranks, self._noise()[known], 1.0))
        self.adam.learning_rate = self.config.rate(self.generation)
        self.adam.step(self.config.weight_decay * self.phi - ascent)
        self.generation += 1
        return float(torch.linalg.vector_norm(ascent))

    def _noise(self) -> Array32:
        seeds = np.random.SeedSequence(self.seed, spawn_key=(self.generation, 0))
        c = self.config
        rng = np.random.default_rng(seeds)
        return noise_vectors(c.noise_vectors, len(self.phi), c.antithetic, rng)

    def state_dict(self) -> dict[str, Any]:
        """phi, Adam's moments and the number of the generation."""
        return {
            "phi": self.phi.numpy().copy(),
            "adam": self.adam.state_dict(),
            "generation": self.generation,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; raises where a size differs."""
        self.phi.copy_(torch.tensor(state["phi"]).view_as(self.phi))
        self.adam.load_state_dict(state["adam"])
        self.generation = int(state["generation"])
