"""Earlier policies of one agent, for lives that begin with one of them (appendix A.2).

The paper sees the objective forget how to train the policies that are no longer in the population,
and suggests to keep older ones in it. Here each agent keeps policies of its own past, with their
critics, so that they fit its environment and never travel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from metagenrl.agents.seeding import restore_rng, rng_state

PER_LIFE = 4
"""Policies of each life that are offered: at a quarter, half, three quarters and all of it."""


@dataclass(frozen=True, eq=False)
class EarlierPolicy:
    """A policy and its critics as they were once."""

    steps: int  # of the agent over all lives, when it was taken
    state: dict[str, Any]  # of the networks, their targets and optimisers


class PolicyArchive:
    """At most `capacity` policies, at any time a uniform sample of all that were ever offered.

    Reservoir sampling (Vitter 1985, algorithm R): the n-th offer is kept with probability
    capacity / n, in the place of a random one, so that the agent's whole past stays in the
    archive and not only its last lives.
    """

    def __init__(self, capacity: int, rng: np.random.Generator) -> None:
        self._capacity, self._rng = capacity, rng
        self._policies: list[EarlierPolicy] = []
        self._offered = 0

    @property
    def steps(self) -> list[int]:
        """When each of the policies was taken."""
        return [policy.steps for policy in self._policies]

    def offer(self, steps: int, state: Callable[[], dict[str, Any]]) -> None:
        """Keep a policy, or not; `state` is called only where it is kept."""
        self._offered += 1
        if len(self._policies) < self._capacity:
            self._policies.append(EarlierPolicy(steps, state()))
            return
        place = int(self._rng.integers(self._offered))
        if place < self._capacity:
            self._policies[place] = EarlierPolicy(steps, state())

    def draw(self, share: float) -> EarlierPolicy | None:
        """With probability `share` one of the policies, each as likely; None: begin afresh."""
        if self._rng.random() >= share or not self._policies:
            return None
        return self._policies[int(self._rng.integers(len(self._policies)))]

    def state_dict(self) -> dict[str, Any]:
        """Everything: restoring it gives the same future."""
        policies = {
            str(place): {"steps": policy.steps, "state": policy.state}
            for place, policy in enumerate(self._policies)
        }
        return {"policies": policies, "offered": self._offered, "rng": rng_state(self._rng)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        saved = [state["policies"][str(place)] for place in range(len(state["policies"]))]
        self._policies = [EarlierPolicy(int(p["steps"]), dict(p["state"])) for p in saved]
        self._offered = int(state["offered"])
        self._rng = restore_rng(state["rng"])
