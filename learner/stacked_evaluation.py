"""K policies and their critics evaluated on a minibatch each, agents along a leading axis.

`policy_value.py` for one agent, with the same equations. Nothing here waits for a device or makes a
shape depend on a value, so that a CUDA graph can hold all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.networks import mlp
from metagenrl.learner.networks.agent_networks import AgentNetworks
from metagenrl.learner.networks.mlp import Tape, Views
from metagenrl.learner.objective.features import input_features
from metagenrl.learner.objective.inputs import (
    ObjectiveInputs,
    critic_direction,
    critic_values,
    reflections,
)
from metagenrl.learner.policy_value import ATANH_BOUND, FREE_RANGE
from metagenrl.learner.types import Batch


def rows_of(x: Tensor) -> Tensor:
    """`[K, B, T, ...] -> [K, B * T, ...]`."""
    return x.flatten(1, 2)


def valid_steps(batch: Batch) -> Tensor:
    """Valid steps of each agent's minibatch, at least 1: `[K]`."""
    return batch.mask.sum((1, 2)).clamp(min=1)


class StackedEvaluation:
    """`PolicyEvaluation` of K agents; `batch`'s tensors have a leading axis K.

    `phi` are views of `[K, P]`, `theta1` those of each agent's first critic.
    """

    def __init__(self, nets: AgentNetworks, phi: Views, theta1: Views, batch: Batch) -> None:
        self.nets, self.phi, self.theta1, self.batch = nets, phi, theta1, batch
        self.states = rows_of(batch.observations[:, :, :-1])  # [K, N, O]
        self.pre, self.policy_tape = mlp.forward(nets.policy, phi, self.states)  # [K, N, A]
        self.pi = self.pre.tanh().view(batch.actions.shape)  # [K, B, T, A]

    @cached_property
    def _critic(self) -> tuple[Tensor, Tape]:
        rows = torch.cat([self.states, rows_of(self.pi)], -1)
        return mlp.forward(self.nets.critic, self.theta1, rows)

    @property
    def v(self) -> Tensor:
        """V_t `[K, B, T]`."""
        return self._critic[0].view(self.batch.mask.shape)

    @property
    def v_next(self) -> Tensor:
        """V_{t+1} `[K, B, T]`: the next row's V, and the last row's own evaluation."""
        s = self.batch.observations[:, :, -1].contiguous()  # [K, B, O]
        a = mlp.evaluate(self.nets.policy, self.phi, s).tanh()
        boot = mlp.evaluate(self.nets.critic, self.theta1, torch.cat([s, a], -1))
        return torch.cat([self.v[..., 1:], boot], -1)

    @property
    def action_value_gradient(self) -> Tensor:
        """dQ_theta1 / da at pi(s_t): `[K, B, T, A]`."""
        out, tape = self._critic
        dx = mlp.backward(self.nets.critic, self.theta1, tape, torch.ones_like(out), None, True)
        assert dx is not None
        return dx[..., -self.pi.shape[-1] :].reshape(self.pi.shape)

    def value_of(self, actions: Tensor) -> Tensor:
        """Q_theta1(s_t, a_t) of any actions: `[K, B, T, A] -> [K, B, T]`."""
        rows = torch.cat([self.states, rows_of(actions)], -1)
        return mlp.evaluate(self.nets.critic, self.theta1, rows).view(actions.shape[:3])

    def policy_gradient(self, action_gradient: Tensor, grads: Views, penalty: float = 0.0) -> None:
        """Write sum_t (d pi_t / d phi)^T action_gradient_t to `grads`; see `PolicyEvaluation`."""
        mask = self.batch.mask.unsqueeze(-1)
        dy = action_gradient * (1 - self.pi.square())
        if penalty:
            a = self.pi.shape[-1]
            x = torch.atanh(self.pi.clamp(-ATANH_BOUND, ATANH_BOUND))
            squares = (action_gradient * mask).square().sum((1, 2, 3))  # [K]
            rms = (squares / (valid_steps(self.batch) * a)).sqrt().view(-1, 1, 1, 1)
            excess = x - x.clamp(-FREE_RANGE, FREE_RANGE)
            dy = dy + excess * rms * (2 * penalty / a)
        mlp.backward(self.nets.policy, self.phi, self.policy_tape, rows_of(dy * mask), grads)

    def policy_tangent(self, direction: Views) -> Tensor:
        """(d pi / d phi) direction: `[K, B, T, A]`, 0 on padding (forward mode)."""
        tangent = mlp.parameter_tangent(self.nets.policy, self.phi, direction, self.policy_tape)
        slope = (1 - self.pi.square()) * self.batch.mask.unsqueeze(-1)
        return tangent.view(self.pi.shape) * slope


def batch_of(batch: Batch, agent: int) -> Batch:
    """One agent's minibatch out of those of all."""
    return Batch(
        batch.observations[agent], batch.actions[agent], batch.rewards[agent],
        batch.terminated[agent], batch.mask[agent],
    )  # fmt: skip


def stacked_inputs(
    config: ObjectiveConfig,
    evaluation: StackedEvaluation,
    features: Callable[[dict[str, Tensor]], Tensor] | None = None,
) -> ObjectiveInputs:
    """The table of section 3 for every agent: statistics are those of its own minibatch.

    `features` makes `[K, B, T, F]` of `critic_values`; None: plain torch does.
    """
    batch, values = evaluation.batch, critic_values(config, evaluation)
    rows = _features(config, batch, values) if features is None else features(values)
    observations = batch.observations[:, :, :-1] if config.use_observation else None
    sign = reflections(batch.mask[0]).unsqueeze(0) if config.reflect_actions else None
    direction = critic_direction(config, evaluation)
    return ObjectiveInputs(rows, batch.actions, observations, batch.mask, sign, direction)


def _features(config: ObjectiveConfig, batch: Batch, values: dict[str, Tensor]) -> Tensor:
    def features(*columns: Tensor) -> Tensor:
        own, asked = columns[:3], dict(zip(values, columns[3:], strict=True))
        one = Batch(batch.observations[0], batch.actions[0], *own)
        return input_features(config, one, **asked)

    found: Tensor = torch.vmap(features)(
        batch.rewards, batch.terminated, batch.mask, *values.values()
    )
    return found


def value_gradient(
    nets: AgentNetworks, phi: Tensor, theta1: Views, batches: tuple[Batch, ...]
) -> tuple[Tensor, Tensor]:
    """J `[K]` and d(-J)/d phi `[K, P]` of each agent; `phi [K, P]`, see `meta_gradient.py`."""
    nets = nets.outer
    views = nets.policy.layout.views(phi)
    s = torch.cat([rows_of(x.observations[:, :, :-1]) for x in batches], 1)
    mask = torch.cat([rows_of(x.mask) for x in batches], 1).unsqueeze(-1)
    weight = mask / mask.sum((1, 2), keepdim=True).clamp(min=1)
    pre, policy_tape = mlp.forward(nets.policy, views, s)
    a = pre.tanh()
    q, critic_tape = mlp.forward(nets.critic, theta1, torch.cat([s, a], -1))
    dx = mlp.backward(nets.critic, theta1, critic_tape, -weight, None, True)
    assert dx is not None
    gradient = torch.empty_like(phi)
    dy = dx[..., -nets.policy.outputs :] * (1 - a.square())
    mlp.backward(nets.policy, views, policy_tape, dy, nets.policy.layout.views(gradient))
    return (q * weight).sum((1, 2)), gradient
