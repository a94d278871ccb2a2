"""What there is a form in C for: every question about it, asked here and nowhere else.

Three ask: `networks/mlp.py` at each call of a network, whose rows differ from call to call;
`learner/ops.py` when an update's functions are put together; `agents/backend` when a backend is
chosen. The equations themselves do not.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from metagenrl.learner.hyperparams import (
    NATIVE_UNITS,
    AgentConfig,
    MetaConfig,
    ObjectiveConfig,
)
from metagenrl.learner.native import library, mlp_small, mlp_wide
from metagenrl.learner.networks import mlp_bfloat16, mlp_reference
from metagenrl.learner.networks.spec import MLP, Views

_WIDE_ROWS = 64  # fewer do not pay for packing the weights
_WIDEST = {"amx": 384}  # AMX_WIDEST of amx.h
_WIDEST_ELSEWHERE = 1 << 14


def of_network(net: MLP, p: Views, x: Tensor) -> ModuleType:
    """The file that computes the network on these rows: `forward`, `backward` and so on.

    A small one is a single C call, where Python and memory traffic would cost more than the
    arithmetic; a wide one is so where the processor has AVX2, and elsewhere goes layer by layer
    on the BLAS, where `bf16` allows it in bfloat16.
    """
    if small_network(net, p):
        return mlp_small
    if wide_network(net, x):
        return mlp_wide
    if net.bf16 and x.dtype == torch.float32 and library.multiplies_bfloat16(x):
        return mlp_bfloat16
    return mlp_reference


def small_network(net: MLP, p: Views) -> bool:
    """Whether `mlp_small.py` takes the network."""
    return net.hidden_layers > 0 and net.hidden_units <= NATIVE_UNITS and library.usable(p["w0"])


def wide_network(net: MLP, x: Tensor) -> bool:
    """Whether `mlp_wide.py` takes these rows of the network."""
    form = library.wide_form(net.terms)
    return (
        form is not None
        and library.usable(x)
        and x.dtype == torch.float32
        and x.shape[1] >= _WIDE_ROWS
        and net.hidden_layers > 0
        and net.outputs > 0
        and net.relu_units == net.hidden_units
        and max(net.inputs, net.hidden_units) <= _WIDEST.get(form, _WIDEST_ELSEWHERE)
    )


def both_networks(policy: MLP, critic: MLP, phi: Views) -> bool:
    """Whether `updates.py` takes policy and critics together."""
    alike = policy.hidden_layers == critic.hidden_layers
    return alike and small_network(policy, phi) and small_network(critic, phi)


def objective(config: ObjectiveConfig) -> bool:
    """Whether `objective.h` has the parts of this variant of L_alpha."""
    return not (config.bidirectional or config.use_observation)


def agents(config: AgentConfig) -> bool:
    """Whether acting and the critics' updates are whole C calls: small networks, library built."""
    return config.hidden_units <= NATIVE_UNITS and library.backend() != "torch"


def policy_updates(meta: MetaConfig | None, config: ObjectiveConfig) -> bool:
    """Whether `policy_updates.py` has this variant of L_alpha and as many inner steps."""
    return objective(config) and (meta is None or meta.inner_steps == 1)
