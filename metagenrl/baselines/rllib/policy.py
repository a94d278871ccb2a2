"""RLlib's PPO networks (new API stack), and a policy made of them that acts by itself.

Nothing here needs a running Ray. A policy's state is plain arrays and numbers: RLlib's own
checkpoints are pickles, and even its filter's JSON state is read with `allow_pickle`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec

from metagenrl.baselines.gym_view import centred, unbounded
from metagenrl.learner.types import Array

FILTER_BOUND = 10.0
"""Bound of a normalised observation, RLlib's and everybody's."""


def quiet_rllib() -> None:
    """Hear only errors: RLlib warns of its own deprecations, in every process."""
    logging.getLogger("ray").setLevel(logging.ERROR)


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of policy and critic."""

    inputs: int
    actions: int
    hidden_units: int
    hidden_layers: int
    lstm_units: int = 0
    """0: no LSTM. Otherwise policy and critic share all layers up to the LSTM's output."""
    sequence_length: int = 20
    """Steps that gradients flow back in time through the LSTM."""

    def model_config(self) -> DefaultModelConfig:
        """As RLlib wants it."""
        return DefaultModelConfig(
            fcnet_hiddens=[self.hidden_units] * self.hidden_layers,
            fcnet_activation="tanh",
            # The free vector cannot be laid behind an LSTM's outputs: RLlib's head fails.
            free_log_std=not self.lstm_units,
            vf_share_layers=bool(self.lstm_units),
            use_lstm=bool(self.lstm_units),
            lstm_cell_size=self.lstm_units or 1,
            max_seq_len=self.sequence_length,
        )

    def build(self) -> RLModule:
        """The policy's network alone, with random parameters."""
        quiet_rllib()
        return RLModuleSpec(
            module_class=DefaultPPOTorchRLModule,
            observation_space=unbounded(self.inputs),
            action_space=centred(self.actions),
            inference_only=True,
            model_config=self.model_config(),
            catalog_class=PPOCatalog,
        ).build()


@dataclass(frozen=True)
class ObservationFilter:
    """Running statistics of the observations, frozen: `[inputs]` each."""

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    """Sum of squared distances from the mean."""

    def __call__(self, observation: Array) -> Array:
        """Zero mean, unit variance, clipped; an input that never changed is only centred."""
        variance = self.squares / max(1, self.count - 1)
        std = np.where(variance > 0, np.sqrt(variance), 1.0)
        normal = (observation - self.mean) / std
        return np.clip(normal, -FILTER_BOUND, FILTER_BOUND).astype(np.float32)


class PpoPolicy:
    """Acts deterministically with a copy of a network's parameters; recurrent where it is."""

    def __init__(self, module: RLModule, observation_filter: ObservationFilter) -> None:
        self._module, self._filter = module, observation_filter
        distribution: Any = module.get_inference_action_dist_cls()
        self._distribution = distribution
        self.start()

    def start(self) -> None:
        """Forget what was seen: the recurrent state is the initial one."""
        self._state: dict[str, Any] | None = None
        if self._module.is_stateful():
            state = self._module.get_initial_state()
            self._state = {k: torch.as_tensor(v).unsqueeze(0) for k, v in state.items()}

    @torch.no_grad()
    def act(self, observation: Array) -> Array:
        """The distribution's mode: `[inputs] -> [actions]`, not yet clipped to [-1, 1]."""
        x = torch.from_numpy(self._filter(observation)).unsqueeze(0)
        batch: dict[str, Any] = {Columns.OBS: x}
        if self._state is not None:
            batch = {Columns.OBS: x.unsqueeze(1), Columns.STATE_IN: self._state}  # [1, T=1, O]
        out = self._module.forward_inference(batch)
        self._state = out.get(Columns.STATE_OUT)
        logits = out[Columns.ACTION_DIST_INPUTS]
        action = self._distribution.from_logits(logits).to_deterministic().sample()
        result: Array = action.reshape(-1).numpy()
        return result
