"""An agent that an evolved loss trains: the inner loop of Evolved Policy Gradients.

Houthooft et al. 2018, Algorithm 1. In meta-training it lives for one inner loop, in a meta-test
for as long as it is asked to; only the PPO loss, which early generations mix in, differs.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metagenrl.agents.environment.limits import EPISODE_LIMIT
from metagenrl.agents.evaluation_episodes import evaluate_policy
from metagenrl.agents.experience.rollout import Episode
from metagenrl.agents.seeding import agent_seeds, draw_torch_seed, restore_rng, rng_state
from metagenrl.baselines.epg.experience import Experience, Transition
from metagenrl.baselines.epg.loss_net import LossNet
from metagenrl.baselines.epg.networks import EpgNetworks
from metagenrl.baselines.epg.update_loss import UpdateLoss
from metagenrl.baselines.padding import Padding
from metagenrl.baselines.steady_environment import SteadyEnvironment
from metagenrl.learner.adam import Adam
from metagenrl.learner.types import Array
from metagenrl.runs.config.epg_config import EpgConfig

_FIELDS = tuple(field.name for field in dataclasses.fields(Transition))


class EpgAgent:
    """A new agent in `env_id`, trained by the loss with parameters `phi` [P]."""

    def __init__(
        self, config: EpgConfig, env_id: str, seed: int, phi: Tensor, ppo_weight: float = 0.0
    ) -> None:
        """Raises `ValueError` where the environment does not fit the padding."""
        self.config, self.seed, self.ppo_weight = config, seed, ppo_weight
        seeds = agent_seeds(seed, 0, 0)
        self.environment = SteadyEnvironment(env_id, seeds.environment)
        facts = self.environment.environment.facts
        sizes = facts.observation_size, facts.action_size
        Padding(config.pad_observations, config.pad_actions).require_fits(facts)
        self._exploration, self._shuffling = seeds.exploration, seeds.replay
        self.nets = EpgNetworks(*sizes, config.policy_units, config.memory_units)
        initial = torch.Generator().manual_seed(draw_torch_seed(seeds.initialisation))
        self.theta = self.nets.initial(initial)
        self.adam = Adam(self.theta, config.inner_learning_rate)
        self._constants = self.nets.layout.views(self.theta)  # the same memory, without a graph
        self._leaf = self.theta.detach().requires_grad_()  # the same memory, with one
        self._phi = LossNet(config.features).layout.views(phi)
        self.experience = Experience(config.buffer_size, *sizes, seeds.initialisation)
        self._fresh: list[Transition] = []
        self.steps = self.skipped_updates = 0
        self.loss = self.gradient_norm = 0.0  # of the newest minibatch

    def step(self) -> Episode | None:
        """One environment step and the update that is due; the episode if it ended.

        Raises `EnvironmentFailed` where the environment raised in several episodes in a row.
        """
        environment = self.environment
        observation = environment.observation
        if observation is None:
            observation = environment.reset()
        action = self._sample(observation)
        result = environment.step(action)
        self._fresh.append(
            Transition(observation, action, result.reward, result.observation,
                       result.terminated, result.truncated)
        )  # fmt: skip
        self.steps += 1
        if len(self._fresh) == self.config.update_every:
            self.experience.add(self._fresh)
            self._fresh = []
            self._update()
        return next(iter(environment.take_finished()), None)

    @torch.no_grad()
    def act(self, observation: Array) -> Array:
        """The policy's mean for one observation: `[O] -> [A]`; the environment clips to [-1, 1].

        Raises `FloatingPointError` where it is not finite.
        """
        s = torch.from_numpy(self.experience.normalized(observation))[None]
        mean: Array = self.nets.policy(self._constants, s).mean[0].numpy()
        if not np.isfinite(mean).all():
            raise FloatingPointError(f"the policy's action is {mean}")
        return mean

    def _sample(self, observation: Array) -> Array:
        with np.errstate(over="ignore"):  # an infinite action is refused where it is taken
            deviation = np.exp(self._constants["log_std"].numpy())
        noise = self._exploration.standard_normal(len(deviation), np.float32)
        return np.asarray(self.act(observation) + deviation * noise, np.float32)

    def _update(self) -> None:
        """A pass over the newest steps in random minibatches, an Adam step each."""
        loss = UpdateLoss(
            self.config, self.nets, self._phi, self.ppo_weight, self.experience, self._constants
        )
        order = torch.from_numpy(self._shuffling.permutation(loss.steps))
        for minibatch in order.tensor_split(max(1, loss.steps // self.config.minibatch_size)):
            value = loss(self.nets.layout.views(self._leaf), minibatch)
            (gradient,) = torch.autograd.grad(value, self._leaf)
            self.loss = float(value.detach())
            self.gradient_norm = float(torch.linalg.vector_norm(gradient))
            if not np.isfinite(self.gradient_norm):
                self.skipped_updates += 1  # as the authors do: a wild loss must not end the run
                continue
            self.adam.step(gradient)

    def evaluate(
        self, episodes: int, env_id: str | None = None, limit: int = EPISODE_LIMIT
    ) -> list[Episode]:
        """Undisturbed episodes of the policy's mean; always the same initial states.

        In the environment that it trains in, or in another one of the same sizes.
        """
        own = self.environment.environment
        sizes = (own.observation_size, own.action_size)
        return evaluate_policy(env_id or own.env_id, self.seed, self.act, episodes, limit, sizes)

    def policy_arrays(self) -> dict[str, Array]:
        """The network of the policy's mean and the scale of its observations, by name."""
        scale = self.experience.observation_scale
        names = {"w0": "w0", "b0": "b0", "w1": "w1", "b1": "b1", "w_out": "w2", "b_out": "b2"}
        views = {name: self._constants[f"policy_{own}"] for name, own in names.items()}
        return {
            **{name: (v.T if v.dim() == 2 else v).numpy().copy() for name, v in views.items()},
            "filter_mean": np.asarray(scale.mean, np.float64).copy(),
            "filter_std": np.asarray(scale.deviation, np.float64).copy(),
            "filter_bound": np.array(np.inf),
        }

    @property
    def resumable(self) -> bool:
        """Whether `state_dict` is complete now: it always is."""
        return True

    def close(self) -> None:
        """Free the environment."""
        self.environment.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the loss, which does not change."""
        fresh = [vars(step) for step in self._fresh]
        return {
            "theta": self.theta.numpy().copy(),
            "adam": self.adam.state_dict(),
            "experience": self.experience.state_dict(),
            "fresh": {name: np.array([step[name] for step in fresh]) for name in _FIELDS if fresh},
            "environment": self.environment.state_dict(),
            "exploration": rng_state(self._exploration),
            "shuffling": rng_state(self._shuffling),
            "steps": self.steps,
            "skipped_updates": self.skipped_updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore; an episode that cannot be replayed exactly is dropped, with a warning."""
        self.theta.copy_(torch.tensor(state["theta"]).view_as(self.theta))
        self.adam.load_state_dict(state["adam"])
        self.experience.load_state_dict(state["experience"])
        columns = [state["fresh"][name] for name in _FIELDS if state["fresh"]]
        self._fresh = [
            Transition(s, a, float(r), after, bool(terminated), bool(truncated))
            for s, a, r, after, terminated, truncated in zip(*columns, strict=True)
        ]
        self._exploration = restore_rng(state["exploration"])
        self._shuffling = restore_rng(state["shuffling"])
        self.steps, self.skipped_updates = int(state["steps"]), int(state["skipped_updates"])
        self.environment.load_state_dict(state["environment"])
        if state["environment"]["environment"]["observation"] is not None:
            self._end_dropped_episode()

    def _end_dropped_episode(self) -> None:
        """Where the episode in progress could not be restored, its newest step was its last."""
        if self.environment.observation is not None:
            return
        if self._fresh:
            self._fresh[-1] = dataclasses.replace(self._fresh[-1], truncated=True)
        else:
            self.experience.end_episode()
