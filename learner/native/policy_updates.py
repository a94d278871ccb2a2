"""Policy update and meta-gradient of several agents in one C call: `policy_update.h`.

For one inner step. The same in steps is `metagenrl.agents.backend.native_steps`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from metagenrl.learner.adam import Adam
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig
from metagenrl.learner.native import library, updates
from metagenrl.learner.native import objective as whole_objective
from metagenrl.learner.native.features import feature_sizes
from metagenrl.learner.networks.agent_networks import AgentNetworks
from metagenrl.learner.objective.inputs import reflections
from metagenrl.learner.objective.net import ObjectiveNet
from metagenrl.learner.policy_value import ATANH_BOUND, FREE_RANGE
from metagenrl.learner.types import Batch


class Learner(ctypes.Structure):
    """`learner` of `policy_update.h`."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("phi", "gradient", "m", "v")),
        *((name, ctypes.c_void_p) for name in ("phi_target", "theta_target", "theta")),
        *((name, ctypes.c_void_p) for name in ("observations", "actions", "rewards")),
        *((name, ctypes.c_void_p) for name in ("terminated", "mask", "others", "others_mask")),
        ("noise", ctypes.c_void_p),
        ("objective_weight", ctypes.c_double),
        ("rates", ctypes.c_double * 5),
    ]


class Method(ctypes.Structure):
    """`method` of `policy_update.h`."""

    _fields_ = [
        (name, ctypes.c_double)
        for name in (
            "inner_rate", "mean", "alpha_bound", "normalize", "policy_bound", "polyak", "penalty",
            "free", "unit_bound", "regression",
        )
    ]  # fmt: skip


@dataclass(frozen=True, eq=False)
class PolicyState:
    """The tensors that an update of one agent's policy reads and writes, apart from minibatches."""

    gradient: Tensor  # [1, P]
    adam: Adam  # of phi [1, P]
    phi_target: Tensor  # [1, P]
    theta_target: Tensor  # [E, P]
    theta: Tensor  # [E, P]


class Found(NamedTuple):
    """The result of one agent's update."""

    gradient: Tensor  # g_i [P_alpha], clipped or normalised; empty where it is not asked for
    norm: float  # before that
    loss: float  # mean l_t
    policy_norm: float  # of the policy's gradient, before it was clipped
    value_after: float  # J


def _method(agent: AgentConfig, meta: MetaConfig | None) -> Method:
    alpha, regression = (0.0, 0.0, 0.0, 0.0), False
    if meta is not None:
        regression = meta.outer_loss == "action_regression"
        mean, normalize = meta.inner_reduction == "mean", meta.gradient_scaling == "normalize"
        alpha = meta.inner_step_size, float(mean), meta.gradient_clip, float(normalize)
    policy = agent.policy_gradient_clip, agent.polyak, agent.action_penalty
    return Method(*alpha, *policy, FREE_RANGE, ATANH_BOUND, regression)


def update_policies(
    nets: AgentNetworks,
    net: ObjectiveNet,
    alpha: Tensor,
    agent: AgentConfig,
    meta: MetaConfig | None,
    states: Sequence[PolicyState],
    batches: Sequence[Sequence[Batch]],
    noise: Sequence[Tensor | None],
    weights: Sequence[float],
) -> list[Found]:
    """Policy update, targets and meta-gradient (Eq. 6) of K agents with one `alpha [P_alpha]`.

    `batches` are tau_1 and tau_2 of each; `noise [B, T, A]` is that of the actions that the
    objective is shown (`learner.resampling`), None where these are the taken ones; `weights` are
    the objective's share in the policies' loss (B.2). Where `meta` is None there is no
    meta-gradient, and only tau_1. Where the policy's gradient is not finite, policy and targets
    stay as they are.
    """
    dtype, shape = alpha.dtype, batches[0][0].actions.shape
    sizes = updates.sizes_of(nets, *shape[:2])
    objective = whole_objective.sizes_of(net, *shape)
    learners = [
        _learner(dtype, state, given[0], given[-1], own, weight)
        for state, given, own, weight in zip(states, batches, noise, weights, strict=True)
    ]
    found = alpha.new_empty(len(states), len(alpha) if meta else 0)
    seen = alpha.new_empty(len(states), 4)
    sign = reflections(batches[0][0].mask) if net.config.reflect_actions else None
    library.call(
        "update_policies", dtype, sizes, objective, feature_sizes(net.config, *shape[:2]),
        _method(agent, meta), len(states), (Learner * len(states))(*learners), alpha, sign,
        found if meta else None, seen, library.scratch(alpha, "update_room", sizes, objective)[0],
    )  # fmt: skip
    return [Found(g, *row) for g, row in zip(found, seen.tolist(), strict=True)]


def _learner(
    dtype: torch.dtype,
    state: PolicyState,
    own: Batch,
    other: Batch,
    noise: Tensor | None,
    weight: float,
) -> Learner:
    places = library.addresses(
        "update_policies", dtype, state.adam.parameters, state.gradient, state.adam.m,
        state.adam.v, state.phi_target, state.theta_target, state.theta, own.observations,
        own.actions, own.rewards, own.terminated, own.mask, other.observations, other.mask,
    )  # fmt: skip
    shown = [None] if noise is None else library.addresses("update_policies", dtype, noise)
    return Learner(*places, *shown, weight, state.adam.advance())
