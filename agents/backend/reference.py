"""The updates of K agents on a device: what travels there and back, and when.

Agents sit in slots `0 .. K - 1`; a slot without an agent, or whose agent does not learn now, is
computed along and left untouched. Everything but `act` and `results` returns before the device is
done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metagenrl.agents.backend.device_replay import DeviceReplay, fields, halves
from metagenrl.agents.backend.graph import Replayed, to_device
from metagenrl.agents.experience.replay import ReplayBuffer
from metagenrl.agents.experience.segments import Draw
from metagenrl.agents.individual import Individual
from metagenrl.agents.reports import Learning, MemberConfig
from metagenrl.learner.networks.agent_networks import AgentNetworks
from metagenrl.learner.objective.net import ObjectiveNet
from metagenrl.learner.objective.stacked_objective import StackedObjective
from metagenrl.learner.stacked_agents import StackedAgents
from metagenrl.learner.types import Array, Batch

_COLUMNS = 6  # of `StackedLearner._found` before the gradient


@dataclass(frozen=True, eq=False)
class CriticDraw:
    """What one agent's streams gave for its critics' update."""

    segments: Draw
    noise: Tensor  # [B, T, A], the target policy's smoothing


class StackedLearner:
    """`slots` agents of one environment and configuration."""

    def __init__(
        self,
        config: MemberConfig,
        nets: AgentNetworks,
        slots: int,
        device: torch.device,
        fused: bool = False,
    ) -> None:
        """`fused`: see `Replayed`. Raises `ValueError` for a method that has no stacked form."""
        agent = self._config = config.agent
        self.slots, self._device = slots, device
        net = ObjectiveNet(config.objective)
        objective = StackedObjective(net, torch.zeros(net.layout.size, device=device), slots)
        self._alpha = objective.alpha
        self._agents = StackedAgents(nets, agent, config.meta, objective)
        self._sizes = nets.policy.inputs, nets.policy.outputs
        self._replay = DeviceReplay(slots, agent.replay_capacity, self._sizes, device)
        self._active = torch.zeros(slots, dtype=torch.bool, device=device)
        self._p = torch.ones(slots, device=device)
        self._critic_batch = self._empty_batch(agent.batch_size)
        self._policy_batch = self._empty_batch(2 * agent.batch_size)
        self._noise = torch.zeros_like(self._critic_batch.actions)
        self._found = torch.zeros(slots, _COLUMNS + net.layout.size, device=device)
        self._critic_update = Replayed(self._update_critics, self._active, fused)
        self._policy_updates = {
            annealed: Replayed(update, self._active, fused)
            for annealed, update in (
                (False, lambda: self._update_policies(None)),
                (True, lambda: self._update_policies(self._p)),
            )
        }

    def _empty_batch(self, segments: int) -> Batch:
        return self._replay.gather({}, segments, self._config.segment_length)

    def load(self, slot: int, individual: Individual) -> None:
        """Take over an agent: its networks and its buffer."""
        self._agents.load_networks_state(slot, individual.actor_critic.networks_state())
        self._replay.load(slot, individual.rollout.buffer)

    def networks_state(self, slot: int) -> dict[str, Any]:
        """An agent's networks as they are now; see `ActorCritic.networks_state`."""
        return self._agents.networks_state(slot)

    def set_alpha(self, alpha: Array) -> None:
        """The objective of the round, `[P_alpha]`."""
        self._alpha.copy_(to_device(torch.from_numpy(np.array(alpha, np.float32)), self._device))

    @torch.no_grad()
    def act(self, observations: Mapping[int, Array]) -> Array:
        """pi_phi(s) of all agents, `[K, A]`, from these slots' observations `[O]`."""
        s = np.zeros((self.slots, self._sizes[0]), np.float32)
        for slot, observation in observations.items():
            s[slot] = observation
        actions: Array = (
            self._agents.act(to_device(torch.from_numpy(s), self._device)).cpu().numpy()
        )
        return actions

    def remember(self, buffers: Mapping[int, ReplayBuffer]) -> None:
        """Follow the step that was last added to these slots' buffers."""
        self._replay.append(buffers)

    def update_critics(self, draws: Mapping[int, CriticDraw]) -> None:
        """One step on the TD loss for the agents in these slots (Eq. 5)."""
        segments = {slot: draw.segments for slot, draw in draws.items()}
        self._set_batch(self._critic_batch, segments)
        noise = torch.zeros(self._noise.shape)
        for slot, draw in draws.items():
            noise[slot] = draw.noise
        self._noise.copy_(to_device(noise, self._device))
        self._critic_update()

    def update_policies(self, draws: Mapping[int, Draw], weights: Mapping[int, float]) -> None:
        """Policy update and meta-gradient for the agents in these slots (Eq. 6).

        A draw has both minibatches; `weights` are the objective's shares of the policies' losses.
        """
        self._set_batch(self._policy_batch, draws)
        p = torch.ones(self.slots)
        for slot, weight in weights.items():
            p[slot] = weight
        self._p.copy_(to_device(p, self._device))
        self._policy_updates[min(weights.values()) < 1]()

    def _set_batch(self, batch: Batch, draws: Mapping[int, Draw]) -> None:
        segments = batch.mask.shape[1]
        new = self._replay.gather(draws, segments, self._config.segment_length)
        for tensor, value in zip(fields(batch), fields(new), strict=True):
            tensor.copy_(value)
        flags = torch.zeros(self.slots, dtype=torch.bool)
        flags[list(draws)] = True
        self._active.copy_(to_device(flags, self._device))

    @torch.no_grad()
    def _update_critics(self) -> None:
        found = self._agents.update_critics(self._critic_batch, self._noise, self._active)
        for column, value in enumerate(found):
            self._found[:, column] = value

    @torch.no_grad()
    def _update_policies(self, p: Tensor | None) -> None:
        inner, held_out = halves(self._policy_batch)
        step = self._agents.update_policies(inner, held_out, p, self._active)
        values = (step.norm, step.loss, step.policy_norm, step.value_after)
        for column, value in enumerate(values, 2):
            self._found[:, column] = value
        self._found[:, _COLUMNS:] = step.gradient

    def results(self) -> list[Learning]:
        """What the last updates found, by slot. Waits for the device."""
        rows = self._found.cpu().numpy()
        return [
            Learning(row[_COLUMNS:].copy(), norm, q, td_loss, loss, policy_norm, value_after)
            for row in rows
            for td_loss, q, norm, loss, policy_norm, value_after in [map(float, row[:_COLUMNS])]
        ]
