"""Whether a population fits the memory of its nodes and the disk of its folder; said in one line.

What cannot fit is refused. What fits only once other programs make room is said and begun.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace

from metagenrl.agents.environment.trial_process import facts_of
from metagenrl.base.checks import UsageError
from metagenrl.base.memory import Memory
from metagenrl.cluster.engines.plan import Plan, cohort_plan
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.machine.needs import (
    BASE,
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


def needs_of(config: TrainConfig, plan: Plan, tests: int = 0) -> Needs:
    """What the population of `config` needs in the processes of `plan`, and `tests` more.

    Raises `UsageError` where a replay buffer is beyond what any process could reserve.
    """
    sizes = {env: _sizes(env) for env in dict.fromkeys(config.envs)}
    agent, steps = config.agent, config.steps
    require_reservable(agent, sizes.items())

    def of(index: int) -> Sizes:
        return sizes[config.env_of(index)]

    everyone = [of(index) for actor in plan for index in actor]
    return Needs(
        (0 if config.engine == "inprocess" else BASE) + tests * process_bytes(agent),
        tuple(
            process_bytes(agent) + sum(agent_bytes(agent, steps, of(index)) for index in actor)
            for actor in plan
        ),
        sum(replay_bytes(agent, steps, each) for each in everyone),
        sum(checkpoint_bytes(agent, steps, each) for each in everyone),
    )


@functools.cache
def _sizes(env: str) -> Sizes:
    facts = facts_of(env)
    return Sizes(facts.observation_size, facts.action_size)


def require_memory(
    config: TrainConfig, plan: Plan, nodes: Sequence[Memory], places: float, tests: int = 0
) -> str:
    """The words that say what memory the population needs and `nodes` have.

    `places`: cores or GPUs, for which `--agents-per-actor auto` would plan; `tests`: processes of
    held-out tests beside it. Raises `UsageError`,
    with the option that helps, where the population cannot fit.
    """
    needs = needs_of(config, plan, tests)
    total, free = sum(node.total for node in nodes), sum(node.available for node in nodes)
    where = f"{len(nodes)} nodes" if len(nodes) > 1 else "this machine"
    actors = "1 process" if len(plan) == 1 else f"{len(plan)} actors"
    replay = f", {gib(needs.replay)} of it replay" if needs.replay > needs.memory / 20 else ""
    text = f"{actors}, {gib(needs.memory)}{replay}"
    if needs.memory > total or max(needs.actors) > max(node.total for node in nodes):
        why = f"memory: {text}; {where}: {gib(total)}"
        if needs.replay > needs.memory / 2:
            raise UsageError(_too_much_replay(config, needs, why, total))
        raise UsageError(_too_many_agents(config, plan, needs, why, total, places))
    tight = f" ({gib(free)} free now: other programs have to end)" if needs.memory > free else ""
    return f"{text} of {gib(total)}{tight}"


def _too_much_replay(config: TrainConfig, needs: Needs, why: str, total: int) -> str:
    capacity = config.agent.replay_capacity
    room = max(0, total - (needs.memory - needs.replay))
    fitting = int(min(capacity, config.steps) * room / needs.replay)
    allowed = f"at most {fitting}" if fitting else "fewer agents"
    return f"replay_capacity: got {capacity} ({why}), allowed: {allowed}, or more memory"


def _too_many_agents(
    config: TrainConfig, plan: Plan, needs: Needs, why: str, total: int, places: float
) -> str:
    agents = sum(map(len, plan))
    fitting = max(0, int((total - needs.base) * agents / sum(needs.actors)))
    allowed = f"at most {fitting}"
    if config.agents_per_actor == 1 and len(plan) > 1:
        together = replace(config, agents_per_actor="auto")
        if needs_of(together, cohort_plan(together, places)).memory <= total:
            allowed += ", or --agents-per-actor auto"
    return f"agents: got {agents} ({why}), allowed: {allowed}"


def require_disk(config: TrainConfig, plan: Plan) -> str:
    """The words that say what the checkpoints need and the disk has.

    Raises `UsageError` where the disk is smaller than one and the next.
    """
    checkpoint = needs_of(config, plan).checkpoint
    folder = config.run_dir.absolute()
    disk = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists()))
    kept = (config.keep_checkpoints + 1) * checkpoint  # one more while it is written
    text = f"checkpoints {gib(kept)}, {gib(disk.free)} free on disk"
    if 2 * checkpoint > disk.total:
        raise UsageError(
            f"run_dir: got {str(config.run_dir)!r} ({text}), allowed: a disk of at least "
            f"{gib(2 * checkpoint)}, or a smaller --replay-capacity"
        )
    return text + (" (lower --keep-checkpoints or make room)" if kept > disk.free else "")
