"""The outer loop of Evolved Policy Gradients: phi moves along its evolution-strategy gradient.

Houthooft et al. 2018, Algorithm 1; where the paper is silent, its authors' code.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metagenrl.base.checks import require
from metagenrl.baselines.epg.evolution_strategies import (
    Array32,
    centered_ranks,
    evolution_gradient,
    noise_vectors,
)
from metagenrl.learner.adam import Adam
from metagenrl.runs.config.epg_config import EvolutionConfig

_BETAS = (0.0, 0.999)  # of Adam: no momentum


class LossEvolution:
    """phi [P] and Adam's state; the noise is a function of seed and generation."""

    def __init__(self, config: EvolutionConfig, phi: Tensor, seed: int) -> None:
        self.config, self.phi, self.seed = config, phi, seed
        self.adam = Adam(phi, config.learning_rate, _BETAS)
        self.generation = 0

    def perturbed(self) -> Array32:
        """The losses of this generation: phi + sigma eps, `[V, P]`."""
        phi: Array32 = self.phi.numpy()
        return phi + np.float32(self.config.sigma) * self._noise()

    def agent_seed(self, vector: int) -> int:
        """Seed of the agent that the perturbed loss trains; both of a pair have the same."""
        index = vector // 2 if self.config.antithetic else vector
        key = (self.generation, 1 + index)
        return int(np.random.SeedSequence(self.seed, spawn_key=key).generate_state(1)[0])

    def update(self, fitness: Sequence[float | None], groups: Sequence[Hashable]) -> float:
        """Move phi along the gradient; its norm. `fitness` [V] is None where a loop failed.

        Ranks are taken within each group; where all are equal (the PPO loss alone trained the
        agents) phi stays. Raises `ValueError` where all failed.
        """
        known = [i for i, value in enumerate(fitness) if value is not None]
        require(bool(known), "fitness", "no value", "at least one inner loop that did not fail")
        values = np.array([fitness[i] for i in known], np.float64)
        ranks = centered_ranks(values, [groups[i] for i in known])
        # Ranks have a scale of their own, so sigma is left out (authors' code).
        ascent = torch.from_numpy(evolution_gradient(ranks, self._noise()[known], 1.0))
        if bool(ascent.any()):  # else Adam would blow the weight decay alone up to a full step
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
