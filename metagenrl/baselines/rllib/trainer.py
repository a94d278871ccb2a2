"""PPO by RLlib's new API stack in this process: its env runner and its learner, without Ray.

`Algorithm` would want a Ray cluster for each agent; what trains is in these two classes. Seeds of
everything random are drawn anew for each rollout, so that a resumed run continues with the same
randomness; the running episode is the only thing that it does not continue.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from ray.rllib.core import COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.filter import RunningStat
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from metagenrl.agents.experience.rollout import Episode
from metagenrl.baselines.gym_view import RecordedEnv
from metagenrl.baselines.rllib.config import PpoRun, rllib_config
from metagenrl.baselines.rllib.policy import (
    NetworkShape,
    ObservationFilter,
    PpoPolicy,
    quiet_rllib,
)

_FILTER = "MeanStdFilter"
_CONNECTORS = "env_to_module_connector"


class RllibPpo:
    """An agent that RLlib trains by PPO in `env`."""

    def __init__(self, env: RecordedEnv, run: PpoRun) -> None:
        """Raises `RuntimeError` where the network has no state although it should have one."""
        quiet_rllib()
        self.env, self.run = env, run
        _seed_everything(run.seed, 0)
        config = rllib_config(env, run)
        self.runner = SingleAgentEnvRunner(config=config)
        self.learner: Learner = config.build_learner(spaces=self.runner.get_spaces())
        assert self.runner.module is not None
        self.module: RLModule = self.runner.module
        if self.module.is_stateful() != bool(run.network.lstm_units):
            raise RuntimeError("RLlib built a network without the LSTM that was asked for")
        self._send_weights()
        self.steps, self._start, self._end = 0, 0, 0
        self._begin_anew = True
        self._episodes: list[Any] = []
        self._finished: dict[int, Episode] = {}

    @property
    def resumable(self) -> bool:
        """Whether `state_dict` is complete now: between rollouts."""
        return self.steps == self._end

    def step(self) -> Episode | None:
        """One environment step, and the update if it completes a rollout; the episode if it ended.

        The steps of a rollout are taken at once, at its first one: the policy does not change
        within it. A rollout that the run's last step cuts short leads to no update.
        """
        if self.steps == self._end:
            self._collect()
        self.steps += 1
        if self.steps - self._start == self.run.rollout_steps:
            self._update()
        return self._finished.get(self.steps - self._start)

    def _collect(self) -> None:
        _seed_everything(self.run.seed, self.steps)
        wanted = min(self.run.rollout_steps, self.run.steps - self.steps)
        self._episodes = self.runner.sample(num_timesteps=wanted, force_reset=self._begin_anew)
        self._begin_anew = False
        self._finished = self.env.take_finished()
        self._start, self._end = self.steps, self.steps + wanted

    def _update(self) -> None:
        ppo = self.run.ppo
        self.learner.update(
            episodes=self._episodes,
            timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: self.steps},
            num_epochs=ppo.epochs,
            minibatch_size=ppo.minibatch,
            shuffle_batch_per_epoch=True,
        )
        self._episodes = []
        self._send_weights()
        self.runner.get_metrics()  # what it keeps for them would grow for ever

    def _send_weights(self) -> None:
        weights = self.learner.get_state(components=COMPONENT_RL_MODULE)[COMPONENT_RL_MODULE]
        self.runner.set_state({COMPONENT_RL_MODULE: weights})

    def policy(self) -> PpoPolicy:
        """The current policy, deterministic; valid until the next update."""
        return PpoPolicy(self.module, self.observation_filter())

    def observation_filter(self) -> ObservationFilter:
        """A copy of the filter's statistics."""
        saved = self.runner.get_state(components=_CONNECTORS)[_CONNECTORS][_FILTER][None]
        s = RunningStat.from_state(saved["running_stats"][0])  # made by this process just now
        return ObservationFilter(int(s.num_pushes), s.mean_array.copy(), s.sum_sq_diff_array.copy())

    def frozen_state(self) -> dict[str, Any]:
        """The state that `frozen_policy` needs."""
        f = self.observation_filter()
        return {
            "network": vars(self.run.network).copy(),
            "parameters": _copied(self.module.get_state()),
            "filter": {"count": f.count, "mean": f.mean, "squares": f.squares},
        }

    def close(self) -> None:
        """Free the environment."""
        self.runner.stop()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the running episode; call it between rollouts (`resumable`)."""
        state = self.learner.get_state(components=[COMPONENT_RL_MODULE, COMPONENT_OPTIMIZER])
        (optimizer,) = state[COMPONENT_OPTIMIZER].values()
        moments = optimizer["state"].get("state", {})
        f = self.observation_filter()
        return {
            "parameters": _copied(state[COMPONENT_RL_MODULE][DEFAULT_MODULE_ID]),
            "adam": {str(i): _moments(values) for i, values in moments.items()},
            "learning_rate": float(optimizer["state"]["param_groups"][0]["lr"]),
            "filter": {"count": f.count, "mean": f.mean, "squares": f.squares},
            "environment": self.env.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; raises where a shape differs."""
        fresh = self.learner.get_state(components=COMPONENT_OPTIMIZER)[COMPONENT_OPTIMIZER]
        ((name, optimizer),) = fresh.items()
        groups = [
            group | {"lr": state["learning_rate"]} for group in optimizer["state"]["param_groups"]
        ]
        # Copies: torch would go on in the memory of the arrays that it is given.
        moments = {int(i): _moments(values) for i, values in state["adam"].items()}
        optimizer["state"] = {"param_groups": groups, "state": moments}
        self.learner.set_state(
            {
                COMPONENT_RL_MODULE: {DEFAULT_MODULE_ID: _copied(state["parameters"])},
                COMPONENT_OPTIMIZER: {name: optimizer},
            }
        )
        self._send_weights()
        self._load_filter(state["filter"])
        self.env.load_state_dict(state["environment"])
        self.steps = self._start = self._end = int(state["steps"])
        self._begin_anew = True

    def _load_filter(self, state: dict[str, Any]) -> None:
        saved = self.runner.get_state(components=_CONNECTORS)[_CONNECTORS]
        statistics = RunningStat(state["mean"].shape)
        statistics.num_pushes = int(state["count"])
        statistics.mean_array = state["mean"].copy()
        statistics.sum_sq_diff_array = state["squares"].copy()
        saved[_FILTER][None]["running_stats"] = [statistics.to_state()]
        self.runner.set_state({_CONNECTORS: saved})


def frozen_policy(state: dict[str, Any]) -> PpoPolicy:
    """The policy that `frozen_state` described; raises where a shape differs."""
    module = NetworkShape(**state["network"]).build()
    module.set_state(_copied(state["parameters"]))
    f = state["filter"]
    return PpoPolicy(module, ObservationFilter(int(f["count"]), f["mean"], f["squares"]))


def _seed_everything(seed: int, steps: int) -> None:
    """RLlib draws from the global generators."""
    first, second, third = np.random.SeedSequence(seed, spawn_key=(steps,)).generate_state(3)
    torch.manual_seed(int(first))
    np.random.seed(int(second))
    random.seed(int(third))


def _copied(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: np.array(value) for name, value in arrays.items()}


def _moments(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value if np.isscalar(value) else np.array(value) for name, value in values.items()
    }
