"""The reference's equations for K agents at once, along a leading axis, on any device.

Agents sit in slots `0 .. K - 1`; a slot without an agent, or whose agent does not learn now, is
computed along and left untouched. Whoever asks for critics' updates does not wait for the device.
On a GPU each update is one graph, and the replay buffers have a copy there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metagenrl.agents.backend.device_replay import chunks, fields, replay_on
from metagenrl.agents.backend.graph import Replayed, to_device
from metagenrl.agents.backend.interface import (
    CriticDraw,
    CriticStep,
    NetworksState,
    PolicyDraw,
    PolicyStep,
    Setting,
)
from metagenrl.agents.experience.replay import Minibatch
from metagenrl.learner.measures import MEASURES
from metagenrl.learner.networks.agent_networks import AgentNetworks
from metagenrl.learner.ops import Ops
from metagenrl.learner.stacked_agents import StackedAgents
from metagenrl.learner.types import Array, Batch

_COLUMNS = 6  # of `AtOnce._found` before measures and gradient: td_loss, q, norm, loss, norm, J


@dataclass(frozen=True)
class _LateCriticStep:
    """See `CriticStep`; the first one that is read waits for the device."""

    backend: AtOnce
    slot: int

    @property
    def td_loss(self) -> float:
        return float(self.backend.results()[self.slot, 0])

    @property
    def q(self) -> float:
        return float(self.backend.results()[self.slot, 1])


class AtOnce:
    """`Reference` of `slots` agents that compute together."""

    def __init__(self, setting: Setting, slots: int, device: torch.device, ops: Ops) -> None:
        agent, meta = setting.agent, setting.meta
        self._setting, self._slots, self._device = setting, slots, device
        nets, like = AgentNetworks.of(agent, *setting.sizes), torch.zeros(slots, device=device)
        self._agents = StackedAgents(nets, agent, meta, setting.objective, like, ops)
        self._learned = self._agents.learned
        parameters = self._learned.net.layout.size if self._learned and meta else 0
        capacity = agent.replay_capacity
        self._replay = replay_on(device, slots, capacity, setting.sizes)
        self._active = torch.zeros(slots, dtype=torch.bool, device=device)
        self._p = torch.ones(slots, device=device)
        self._critic_batch = self._empty_batch(agent.batch_size)
        self._policy_batch = self._empty_batch(setting.minibatches * agent.batch_size)
        self._noise = torch.zeros_like(self._critic_batch.actions)
        shown = setting.inner_steps * agent.batch_size if setting.objective.resample_noise else 0
        self._policy_noise = torch.zeros_like(self._policy_batch.actions[:, :shown])
        self._before = _COLUMNS + len(MEASURES)  # columns before the gradient
        self._found = torch.zeros(slots, self._before + parameters, device=device)
        self._rows: Array | None = None  # `_found` as it came from the device
        graphs = setting.minibatches <= 2  # several are differentiated by autograd
        self._critic_update = Replayed(self._update_critics, self._active)
        self._policy_update = Replayed(lambda: self._update_policies(None), self._active, graphs)
        self._annealed_update = Replayed(
            lambda: self._update_policies(self._p), self._active, graphs
        )

    def _empty_batch(self, segments: int) -> Batch:
        return self._replay.minibatches({}, segments, self._setting.agent.segment_length)

    def load(self, slot: int, networks: NetworksState) -> None:
        self._agents.load_networks_state(slot, networks)

    def networks(self, slot: int) -> NetworksState:
        return self._agents.networks_state(slot)

    @torch.no_grad()
    def act(self, observations: Mapping[int, Array]) -> Mapping[int, Array]:
        s = np.zeros((self._slots, self._setting.sizes[0]), np.float32)
        for slot, observation in observations.items():
            s[slot] = observation
        actions = self._agents.act(to_device(torch.from_numpy(s), self._device)).cpu().numpy()
        return {slot: actions[slot] for slot in observations}

    def update_critics(self, draws: Mapping[int, CriticDraw]) -> Mapping[int, CriticStep]:
        self._set_batch(self._critic_batch, {slot: d.minibatch for slot, d in draws.items()})
        self._set_noise(self._noise, {slot: draw.noise for slot, draw in draws.items()})
        self._critic_update()
        self._rows = None
        return {slot: _LateCriticStep(self, slot) for slot in draws}

    def update_policies(
        self, alpha: Array, draws: Mapping[int, PolicyDraw]
    ) -> Mapping[int, PolicyStep]:
        if self._learned is not None:
            given = torch.from_numpy(np.array(alpha, np.float32))
            self._learned.alpha.copy_(to_device(given, self._device))
        self._set_batch(self._policy_batch, {slot: d.minibatch for slot, d in draws.items()})
        if self._policy_noise.numel():
            self._set_noise(self._policy_noise, {slot: draw.noise for slot, draw in draws.items()})
        p = torch.ones(self._slots)
        for slot, draw in draws.items():
            p[slot] = draw.objective_weight
        self._p.copy_(to_device(p, self._device))
        annealed = min(draw.objective_weight for draw in draws.values()) < 1
        (self._annealed_update if annealed else self._policy_update)()
        self._rows = None
        rows = self.results()
        return {
            slot: PolicyStep(
                rows[slot, self._before :].copy(), norm, loss, policy_norm, value_after,
                self._measured(rows[slot]) if draw.measured else {},
            )
            for slot, draw in draws.items()
            for norm, loss, policy_norm, value_after in [map(float, rows[slot, 2:_COLUMNS])]
        }  # fmt: skip

    def _measured(self, row: Array) -> dict[str, float]:
        values = map(float, row[_COLUMNS : self._before])
        return {each.name: value for each, value in zip(MEASURES, values, strict=True)}

    def _set_batch(self, batch: Batch, draws: Mapping[int, Minibatch]) -> None:
        new = self._replay.minibatches(
            draws, batch.mask.shape[1], self._setting.agent.segment_length
        )
        for tensor, value in zip(fields(batch), fields(new), strict=True):
            tensor.copy_(value)
        flags = torch.zeros(self._slots, dtype=torch.bool)
        flags[list(draws)] = True
        self._active.copy_(to_device(flags, self._device))

    def _set_noise(self, noise: Tensor, draws: Mapping[int, Tensor | None]) -> None:
        new = torch.zeros(noise.shape)
        for slot, drawn in draws.items():
            assert drawn is not None, "whoever needs it draws it"
            new[slot] = drawn
        noise.copy_(to_device(new, self._device))

    @torch.no_grad()
    def _update_critics(self) -> None:
        found = self._agents.update_critics(self._critic_batch, self._noise, self._active)
        for column, value in enumerate(found):
            self._keep(column, value)

    @torch.no_grad()
    def _update_policies(self, p: Tensor | None) -> None:
        batches = chunks(self._policy_batch, self._setting.minibatches)
        noise = self._policy_noise if self._policy_noise.numel() else None
        step = self._agents.update_policies(batches, p, self._active, noise)
        values = (step.norm, step.loss, step.policy_norm, step.value_after, *step.values.values())
        for column, value in enumerate(values, 2):
            self._keep(column, value)
        self._found[:, self._before :] = step.gradient

    def _keep(self, column: int, value: Tensor) -> None:
        """A slot that does not learn now keeps what its last update found."""
        self._found[:, column] = torch.where(self._active, value, self._found[:, column])

    def results(self) -> Array:
        """The numbers of every slot's last updates. Waits for the device."""
        if self._rows is None:
            self._rows = self._found.cpu().numpy()
            if self._device.type == "cpu":
                self._rows = self._rows.copy()
        return self._rows
