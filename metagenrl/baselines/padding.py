"""Zero-padding: one size of observation and action for environments that differ in theirs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metagenrl.agents.environment.make import EnvironmentFacts


@dataclass(frozen=True)
class Padding:
    """The sizes that a network across environments has."""

    observations: int
    actions: int

    @staticmethod
    def of(specs: Iterable[EnvironmentFacts], observations: int = 0, actions: int = 0) -> Padding:
        """The sizes asked for, where 0 stands for those of the largest environment.

        Raises `ValueError` (one line) where an environment does not fit.
        """
        specs = list(specs)
        padding = Padding(
            observations or max(spec.observation_size for spec in specs),
            actions or max(spec.action_size for spec in specs),
        )
        for spec in specs:
            padding.require_fits(spec)
        return padding

    def require_fits(self, spec: EnvironmentFacts) -> None:
        """Raise `ValueError` (one line) where the environment is larger than the padding."""
        if spec.observation_size <= self.observations and spec.action_size <= self.actions:
            return
        raise ValueError(
            f"env: got {spec.env_id!r} ({spec.observation_size} observations, {spec.action_size} "
            f"actions), allowed: at most {self.observations} and {self.actions}, the sizes that "
            "inputs are padded to (--pad-observations and --pad-actions of the meta-training)"
        )

    def observation(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """`[O] -> [observations]`, zeros at the end."""
        return np.pad(observation, (0, self.observations - observation.size))

    def action(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """`[A] -> [actions]`, zeros at the end."""
        return np.pad(action, (0, self.actions - action.size))
