"""Whether a population fits the memory of its nodes and the disk of its folder; said in one line.

What cannot fit is refused. What fits only once other programs make room is said and begun.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from metagenrl.agents.environment.trial_process import facts_of
from metagenrl.base.checks import UsageError
from metagenrl.base.memory import Memory
from metagenrl.cluster.engines.plan import Plan
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.runs.machine.needs import (
    BASE,
    PROCESS,
    Sizes,
    agent_bytes,
    checkpoint_bytes,
    gib,
    process_bytes,
    replay_bytes,
    require_reservable,
)


@dataclass(frozen=True)
class Needs:
    """Bytes that a population needs."""

    base: int  # the driver, Ray's own processes and those of held-out tests
    actors: tuple[int, ...]  # each process with agents
    replay: int  # of all agents, part of the above
    checkpoint: int  # one, at its largest

    @property
    def memory(self) -> int:
        """All processes together."""
        return self.base + sum(self.actors)


@dataclass(frozen=True)
class Crowd:
    """The agents that need room."""

    agent: AgentConfig
    steps: int  # of each
    env_of: Callable[[int], str]  # an agent's environment
    on_ray: bool


def needs_of(crowd: Crowd, plan: Plan, tests: int = 0) -> Needs:
    """The bytes that agents need in the processes of `plan`, with `tests` processes beside them.

    Raises `UsageError` where a replay buffer is beyond what any process could reserve.
    """
    agent, steps = crowd.agent, crowd.steps
    sizes = {index: _sizes(crowd.env_of(index)) for actor in plan for index in actor}
    require_reservable(agent, ((crowd.env_of(index), size) for index, size in sizes.items()))
    return Needs(
        (BASE if crowd.on_ray else 0) + tests * process_bytes(agent),
        tuple(
            process_bytes(agent) + sum(agent_bytes(agent, steps, sizes[index]) for index in actor)
            for actor in plan
        ),
        sum(replay_bytes(agent, steps, each) for each in sizes.values()),
        sum(checkpoint_bytes(agent, steps, each) for each in sizes.values()),
    )


@functools.cache
def _sizes(env: str) -> Sizes:
    facts = facts_of(env)
    return Sizes(facts.observation_size, facts.action_size)


def require_memory(
    crowd: Crowd,
    plan: Plan,
    nodes: Sequence[Memory],
    tests: int = 0,
    cohorts: Plan | None = None,
) -> str:
    """The words that say what memory the agents need and `nodes` have.

    `tests`: processes of held-out tests beside them; `cohorts`: what `--agents-per-actor auto`
    would plan, where that is not asked for. Raises `UsageError`, with the option that helps, where
    the agents cannot fit.
    """
    needs = needs_of(crowd, plan, tests)
    total, free = sum(node.total for node in nodes), sum(node.available for node in nodes)
    where = f"{len(nodes)} nodes" if len(nodes) > 1 else "this machine"
    actors = "1 process" if len(plan) == 1 else f"{len(plan)} actors"
    replay = f", {gib(needs.replay)} of it replay" if needs.replay > needs.memory / 20 else ""
    text = f"{actors}, {gib(needs.memory)}{replay}"
    if needs.memory > total or max(needs.actors) > max(node.total for node in nodes):
        why = f"memory: {text}; {where}: {gib(total)}"
        if needs.replay > needs.memory / 2:
            raise UsageError(_too_much_replay(crowd, needs, why, total))
        fit_together = cohorts is not None and needs_of(crowd, cohorts).memory <= total
        raise UsageError(_too_many_agents(crowd.agent, plan, needs, why, total, fit_together))
    tight = f" ({gib(free)} free now: other programs have to end)" if needs.memory > free else ""
    return f"{text} of {gib(total)}{tight}"


def require_memory_to_grow(crowd: Crowd, plan: Plan, nodes: Sequence[Memory]) -> None:
    """Raise `UsageError` where a running population has no room to become `plan`."""
    needs, total = needs_of(crowd, plan), sum(node.total for node in nodes)
    if nodes and needs.memory > total:
        agents = sum(map(len, plan))
        fitting = max(0, int((total - needs.base) * agents / sum(needs.actors)))
        why = f"memory: {gib(needs.memory)} of {gib(total)}"
        raise UsageError(f"agents: got {agents} ({why}), allowed: at most {fitting}")


def _too_much_replay(crowd: Crowd, needs: Needs, why: str, total: int) -> str:
    capacity = crowd.agent.replay_capacity
    room = max(0, total - (needs.memory - needs.replay))
    fitting = int(min(capacity, crowd.steps) * room / needs.replay)
    allowed = f"at most {fitting}" if fitting else "fewer agents"
    return f"replay_capacity: got {capacity} ({why}), allowed: {allowed}, or more memory"


def _too_many_agents(
    agent: AgentConfig, plan: Plan, needs: Needs, why: str, total: int, fit_together: bool
) -> str:
    agents = sum(map(len, plan))
    fitting = max(0, int((total - needs.base) * agents / sum(needs.actors)))
    if not fitting and max(needs.actors) > 2 * PROCESS:  # and not the machine is small
        layers = f"with {agent.hidden_layers} hidden_layers, {why}"
        return f"hidden_units: got {agent.hidden_units} ({layers}), allowed: smaller networks"
    allowed = f"at most {fitting}"
    if fit_together:
        allowed += ", or --agents-per-actor auto"
    return f"agents: got {agents} ({why}), allowed: {allowed}"


def require_disk(run_dir: Path, keep: int, written: int, checkpoint: int) -> str:
    """The words that say what checkpoints of so many bytes need and the disk has.

    The run writes `written` of them and keeps the newest `keep`. Raises `UsageError` where the
    whole disk is smaller than what it holds at one time.
    """
    folder = run_dir.absolute()
    disk = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists()))
    held = min(keep + 1, written) * checkpoint  # one more while it is written
    text = f"checkpoints {gib(held)}, {gib(disk.free)} free on disk"
    if held > disk.total:
        fitting = disk.total // checkpoint - 1
        allowed = f"at most {fitting}" if fitting > 0 else f"a disk of at least {gib(held)}"
        field = f"keep_checkpoints: got {keep}" if fitting > 0 else f"run_dir: got {str(run_dir)!r}"
        raise UsageError(f"{field} ({text}), allowed: {allowed}, or a smaller --replay-capacity")
    return text + (" (lower --keep-checkpoints or make room)" if held > disk.free else "")
