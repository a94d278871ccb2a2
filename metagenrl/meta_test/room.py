"""Whether agents that train alone fit this machine's memory; said in one line."""

from __future__ import annotations

from metagenrl.agents.environment.trial_process import facts_of
from metagenrl.base.checks import UsageError
from metagenrl.base.memory import memory_here
from metagenrl.base.wording import counted
from metagenrl.runs.config.baselines import BASELINES
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.machine.needs import (
    Sizes,
    agent_bytes,
    gib,
    process_bytes,
    replay_bytes,
    require_reservable,
    step_bytes,
)


def require_memory(config: MetaTestConfig | BaselineConfig) -> str:
    """The line that says what memory the agents need and this machine has.

    Raises `UsageError`, with the option that helps, where they cannot fit.
    """
    facts = [facts_of(env) for env in config.environments]
    sizes = [Sizes(one.observation_size, one.action_size) for one in facts]
    steps, rollout, rollout_steps = config.steps, 0, 0
    if isinstance(config, BaselineConfig) and BASELINES[config.algo].on_policy:
        rollout_steps = config.on_policy.rollout_steps
        rollout = rollout_steps * max(step_bytes(each) for each in sizes)
        steps = 0  # nothing is replayed
    else:
        require_reservable(config.agent, zip(config.environments, sizes, strict=True))
    alone = max(agent_bytes(config.agent, steps, each) for each in sizes)
    replay = max(replay_bytes(config.agent, steps, each) for each in sizes)
    one = process_bytes(config.agent) + alone + rollout
    processes = min(config.workers, config.seeds)
    memory, needed = memory_here(), processes * one
    who = counted(processes, "process", "processes")
    text = f"memory: {who}, {gib(needed)} of {gib(memory.total)}"
    capacity = config.agent.replay_capacity
    if one > memory.total and replay > one / 2:
        fitting = int(min(steps, capacity) * max(0, memory.total - one + replay) / replay)
        raise UsageError(f"replay_capacity: got {capacity} ({text}), allowed: at most {fitting}")
    if one > memory.total and rollout > one / 2:
        fitting = int(rollout_steps * max(0, memory.total - one + rollout) / rollout)
        raise UsageError(f"rollout_steps: got {rollout_steps} ({text}), allowed: at most {fitting}")
    if needed > memory.total:
        fitting = int(memory.total // one)
        raise UsageError(f"workers: got {config.workers} ({text}), allowed: at most {fitting}")
    tight = f" ({gib(memory.available)} free now)" if needed > memory.available else ""
    return text + tight
