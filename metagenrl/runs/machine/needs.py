"""Memory and disk that a run will need, estimated before it starts.

The constants are measured on Linux with CPU torch (docs/performance.md): 20 and 40 agents at the
paper's sizes take 8.4 and 13.5 GB with an actor each, 2.1 and 2.7 GB in two actors; the estimates
are 8.0, 14.9, 2.3 and 2.9 GB.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from metagenrl.base.checks import UsageError
from metagenrl.learner.hyperparams import AgentConfig

GIB = 1 << 30
BASE = 1 << 30
"""Bytes of a driver and of Ray's own processes on a machine."""
PROCESS = 256 << 20
"""Bytes of a process that trains agents, before it has any."""
_NETWORK_COPIES = 20
"""Arrays as large as an agent's parameters: targets, Adam's moments, gradients, older policies."""
_SAVED_COPIES = 4
"""Of these, in a checkpoint: parameters, targets, two moments."""
_ACTIVATIONS = 8
"""Arrays of a minibatch's activations that live in an update."""


@dataclass(frozen=True)
class Sizes:
    """An environment's: numbers in an observation and in an action."""

    observation: int
    action: int


def parameters_of(agent: AgentConfig, sizes: Sizes) -> int:
    """Parameters of an agent's policy and critics."""
    critics = 2 if agent.twin_critics else 1
    policy = _parameters(agent, sizes.observation, sizes.action)
    return policy + critics * _parameters(agent, sizes.observation + sizes.action, 1)


def _parameters(agent: AgentConfig, inputs: int, outputs: int) -> int:
    units, layers = agent.hidden_units, agent.hidden_layers
    hidden = inputs * units + (layers - 1) * units * units + 3 * layers * units
    return hidden + units * outputs + outputs


def step_bytes(sizes: Sizes) -> int:
    """A step in the replay buffer: two observations, action, reward and two flags."""
    return 4 * (2 * sizes.observation + sizes.action + 1) + 2


def replay_bytes(agent: AgentConfig, steps: int, sizes: Sizes) -> int:
    """The replay buffer of an agent that takes `steps` steps, at its fullest."""
    return min(agent.replay_capacity, steps) * step_bytes(sizes)


def agent_bytes(agent: AgentConfig, steps: int, sizes: Sizes) -> int:
    """An agent's memory, without that of its process."""
    networks = 4 * _NETWORK_COPIES * parameters_of(agent, sizes)
    return networks + replay_bytes(agent, steps, sizes)


def checkpoint_bytes(agent: AgentConfig, steps: int, sizes: Sizes) -> int:
    """An agent's part of a checkpoint, at its largest."""
    networks = 4 * _SAVED_COPIES * parameters_of(agent, sizes)
    return networks + replay_bytes(agent, steps, sizes)


def process_bytes(agent: AgentConfig) -> int:
    """A process that trains agents of this kind one after the other, without the agents."""
    rows = agent.batch_size * (agent.segment_length + 1)
    return PROCESS + 4 * _ACTIVATIONS * rows * agent.hidden_units * agent.hidden_layers


def require_reservable(agent: AgentConfig, environments: Iterable[tuple[str, Sizes]]) -> None:
    """Refuse a replay buffer that no process could even reserve, as the system sees it.

    Memory is used only as the buffer fills, but a single array beyond memory and swap is never
    granted. Raises `UsageError`.
    """
    most = psutil.virtual_memory().total + psutil.swap_memory().total
    for name, sizes in environments:
        array = 4 * agent.replay_capacity * max(sizes.observation, sizes.action)
        if array > most:
            fitting = most // (array // agent.replay_capacity)
            raise UsageError(
                f"replay_capacity: got {agent.replay_capacity} (an array of {gib(array)} for "
                f"{name}), allowed: at most {fitting} on a machine with {gib(most)}"
            )


def gib(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{size / (1 << 20):,.0f} MiB"
