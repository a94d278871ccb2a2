"""A population on Ray: seconds until it is ready, memory, and agent-steps against bare processes.

    python -m benchmarks.population --agents 20 --per-actor auto --size small --pairs 10

prints one JSON line; every configuration gets a process and a Ray of its own. Population and bare
processes, one a core, work in turns: while the bare ones do, all of the population's and Ray's are
stopped, so that neither takes time from the other and both meet the machine as it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import psutil
import tyro

from benchmarks.bare import BareOptions, BareProcesses, BareResult
from benchmarks.problem import ENVIRONMENT, SizeName
from benchmarks.processes import (
    ROLES,
    Role,
    cpu_between,
    cpu_seconds,
    memory_gb,
    processes_here,
    spent_ever,
)
from metagenrl.base.process import available_cores
from metagenrl.cluster.engines.interface import START_TIMEOUT, Engine
from metagenrl.cluster.population.roster import Roster
from metagenrl.objective_server.answers import Broadcast
from metagenrl.runs.config.presets import PRESETS
from metagenrl.runs.config.train import TrainConfig, WorkerStart

ROUND_TIMEOUT = 300.0
WARM_UP_ROUNDS = 3


@dataclass(frozen=True)
class PopulationOptions:
    """One measurement."""

    agents: int = 20
    """Agents in the population."""
    per_actor: int | Literal["auto"] = 1
    """Agents of an actor, as `--agents-per-actor`."""
    size: SizeName = "paper"
    """Preset whose sizes are taken."""
    pairs: int = 10
    """Times that population and bare processes are measured; 0: only start-up and memory."""
    seconds: float = 2.0
    """Time of each of these measurements, and at least two rounds."""
    worker_start: WorkerStart = "fork"
    """How Ray's workers begin, as `--worker-start`."""


@dataclass(frozen=True)
class PopulationResult:
    """What one population took."""

    agents: int
    per_actor: int | str
    size: str
    actors: int
    ray_up_s: float  # until Ray and the objective server answer
    ready_s: float  # from there until every agent has answered
    start_cpu_s: float  # CPU time of all processes until then, those that have ended as well
    pss_gb: float  # all processes together, after the last round
    pss_gb_of: dict[str, float]  # the same by role: actors, server, driver, Ray's own
    steps_per_s: float  # agent-steps, median
    steps_per_cpu_s: float  # of all processes together
    actors_cpu_ms: float  # CPU time of a round: agents' processes
    server_cpu_ms: float  # the objective server's
    driver_cpu_ms: float  # this one
    ray_cpu_ms: float  # Ray's own
    bare_cpu_ms: float  # bare processes', for as many agent-steps
    bare_steps_per_s: float
    percent_of_bare: float  # median over the pairs
    percents: tuple[float, ...]  # of all pairs


class Rates(NamedTuple):
    """Agent-steps of a population for some seconds."""

    steps_per_s: float
    cpu_ms: dict[Role, float]  # of a round


def population_config(options: PopulationOptions, folder: Path) -> TrainConfig:
    """The preset in one environment; agents act by their policies and learn from the start."""
    preset = PRESETS[options.size].train
    starts = 2 * preset.agent.batch_size
    agent = replace(preset.agent, learning_starts=starts, random_steps=starts)
    meta = replace(preset.meta, anneal_steps=0, lifetime=0)
    return replace(
        preset, envs=(ENVIRONMENT,), agents=options.agents, agents_per_actor=options.per_actor,
        agent=agent, meta=meta, run_dir=folder, engine="ray", worker_start=options.worker_start,
        wandb="disabled",
    )  # fmt: skip


def measure_population(options: PopulationOptions) -> PopulationResult:
    """Start a population, let it learn, and count."""
    from metagenrl.cluster.engines.placement import hosts_of
    from metagenrl.cluster.parts import engine_of, prepare_store

    with tempfile.TemporaryDirectory() as folder:
        config = population_config(options, Path(folder))
        begin = time.monotonic()
        hosts = hosts_of(config, None)
        prepare_store(config, "benchmark", None)
        engine: Engine = engine_of(config, "benchmark", hosts)
        up = time.monotonic()
        try:
            _start(engine, config)
            ready, spent = time.monotonic(), spent_ever(processes_here())
            pairs = _pairs(engine, config, options)
            memory = memory_gb(processes_here())
        finally:
            engine.close()
    percents = tuple(100 * here.steps_per_s / bare.steps_per_s for here, bare in pairs)
    steps = config.agents * config.agent.policy_delay  # of a round
    return PopulationResult(
        options.agents, options.per_actor, options.size, len(hosts.plan), up - begin, ready - up,
        spent, sum(memory.values()), dict(memory), _median(here.steps_per_s for here, _ in pairs),
        _median(1e3 * steps / sum(here.cpu_ms.values()) for here, _ in pairs),
        *(_median(here.cpu_ms[role] for here, _ in pairs) for role in ROLES),
        _median(1e3 * steps / bare.steps_per_cpu_s for _, bare in pairs),
        _median(bare.steps_per_s for _, bare in pairs), _median(percents), percents,
    )  # fmt: skip


def _median(values: Iterable[float]) -> float:
    return statistics.median([*values] or [0.0])


def _start(engine: Engine, config: TrainConfig) -> None:
    for seat in Roster(config, "benchmark").seats:
        engine.start_agent(seat.config, 0, None)
    up, deadline = 0, time.monotonic() + START_TIMEOUT
    while up < config.agents:
        results = engine.started(deadline - time.monotonic())
        lost = [result for result in results if hasattr(result, "reason")]
        if lost or not results:
            raise RuntimeError(f"{up} of {config.agents} agents came up: {lost}")
        up += len(results)


def _pairs(
    engine: Engine, config: TrainConfig, options: PopulationOptions
) -> list[tuple[Rates, BareResult]]:
    """The population's agent-steps and those of bare processes, in turns."""
    broadcast = engine.exchange([], [], close=False).broadcast
    while broadcast.version < WARM_UP_ROUNDS:  # every agent learns from the first version on
        broadcast = _round(engine, config, broadcast)
    if not options.pairs:
        return []
    population, pairs = processes_here(), []
    bare = BareProcesses(BareOptions(options.size), available_cores())
    with contextlib.closing(bare):
        for _ in range(options.pairs):
            here, broadcast = _measure(engine, config, broadcast, population, options.seconds)
            with _stopped(population):
                pairs.append((here, bare.measure(options.seconds)))
    return pairs


def _measure(
    engine: Engine,
    config: TrainConfig,
    broadcast: Broadcast,
    processes: Sequence[psutil.Process],
    seconds: float,
) -> tuple[Rates, Broadcast]:
    rounds, begin, before = 0, time.monotonic(), cpu_seconds(processes)
    while rounds < 2 or time.monotonic() - begin < seconds:
        broadcast = _round(engine, config, broadcast)
        rounds += 1
    wall, after = time.monotonic() - begin, cpu_seconds(processes)
    steps = rounds * config.agents * config.agent.policy_delay
    spent = cpu_between(before, after)
    return Rates(steps / wall, {role: 1e3 * spent[role] / rounds for role in ROLES}), broadcast


@contextlib.contextmanager
def _stopped(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """All but this process wait."""
    others = [process for process in processes if process.pid != os.getpid()]
    for process in others:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield
    finally:
        for process in others:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def _round(engine: Engine, config: TrainConfig, broadcast: Broadcast) -> Broadcast:
    """One synchronous round, as the population does it."""
    for agent in range(config.agents):
        engine.begin_round(agent, broadcast, ahead=True)
    gradients, left = [], config.agents
    while left:
        results = engine.poll(ROUND_TIMEOUT, everyone=True)
        for result in results:
            report = getattr(result, "report", None)
            gradient = getattr(result, "gradient", None) or getattr(report, "gradient", None)
            left -= report is not None
            if hasattr(gradient, "run"):
                gradients.append(gradient)
        if not results or any(hasattr(result, "reason") for result in results):
            raise RuntimeError(f"a round failed: {results}")
    gradients.sort(key=lambda g: g.agent)
    return engine.exchange(gradients, range(config.agents), close=True).broadcast


def in_own_process(options: PopulationOptions) -> PopulationResult:
    """`measure_population` in a fresh process. Raises `RuntimeError` where that fails."""
    argv = [sys.executable, "-m", "benchmarks.population"]
    for name, value in asdict(options).items():
        argv += [f"--{name.replace('_', '-')}", str(value)]
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{' '.join(argv[2:])}: {run.stderr.strip()[-500:]}")
    # Ray may print to stdout after it.
    line = next(line for line in reversed(run.stdout.splitlines()) if line.startswith("{"))
    return PopulationResult(**json.loads(line))


def main() -> None:
    """Carry out the command line."""
    print(json.dumps(asdict(measure_population(tyro.cli(PopulationOptions)))))


if __name__ == "__main__":
    main()
