"""Agents' gradients that the objective server applies in a second, alone and in cohorts.

Simulated agents: the gradients are random, all from `submit` to the committed round is the
real server on files. What Ray adds to a message is measured with the population.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from metagenrl.base.messages import AlphaGradient, CohortGradient, average, euclidean
from metagenrl.objective_server.config import ServerConfig
from metagenrl.objective_server.server import ObjectiveServer
from metagenrl.objective_server.state import ServerState
from metagenrl.objective_server.store.in_folder import FileStore

PARAMETERS = 15_497
ENVIRONMENTS = 2
COHORT = 20
POPULATIONS = (10, 100, 1_000)
SECONDS = 3.0


@dataclass(frozen=True)
class ServerRate:
    """Rounds of one population; CPU time, so that other work counts little."""

    agents: int
    cohort: int  # agents a message
    round_ms: float  # CPU, median
    gradients_per_s: float  # by wall clock
    gradients_per_cpu_s: float


def _gradients(agents: int) -> list[AlphaGradient]:
    rng, found = np.random.default_rng(0), []
    for agent in range(agents):
        values = rng.normal(size=PARAMETERS).astype(np.float32)
        values /= np.float32(euclidean(values))  # as clipped to a norm of 1
        found.append(AlphaGradient("b", agent, 0, 0, 0, values, 80.0, f"env{agent % ENVIRONMENTS}"))
    return found


def _messages(agents: int, cohort: int) -> list[AlphaGradient | CohortGradient]:
    alone = _gradients(agents)
    if cohort == 1:
        return list(alone)
    found: list[AlphaGradient | CohortGradient] = []
    for index in range(ENVIRONMENTS):
        peers = alone[index::ENVIRONMENTS]
        found += [average(peers[i : i + cohort]) for i in range(0, len(peers), cohort)]
    return found


def _for_round(message: AlphaGradient | CohortGradient, now: int) -> AlphaGradient | CohortGradient:
    """The message as it would be in round and version `now`; arrays are shared."""
    values = {part.name: getattr(message, part.name) for part in fields(message)}
    if isinstance(message, AlphaGradient):
        return AlphaGradient(**{**values, "round": now, "version": now})
    shares = tuple(type(s)(s.agent, s.incarnation, now, s.norm) for s in message.shares)
    return CohortGradient(**{**values, "round": now, "version": now, "shares": shares})


def measure_server(agents: int, cohort: int, seconds: float) -> ServerRate:
    """Rounds for about so many seconds, at least three."""
    messages, expected = _messages(agents, cohort), range(agents)
    with tempfile.TemporaryDirectory() as folder:
        alpha = np.zeros(PARAMETERS, np.float32)
        state, store = ServerState.start("b", alpha, 1e-3), FileStore(Path(folder))
        server = ObjectiveServer(state, store, ServerConfig())
        cpu: list[float] = []
        wall = 0.0
        while wall < seconds or len(cpu) < 3:
            current = [_for_round(message, len(cpu)) for message in messages]
            begin, cpu_begin = time.perf_counter(), time.process_time()
            server.submit(current)
            server.close_round(len(cpu), expected)
            cpu.append(time.process_time() - cpu_begin)
            wall += time.perf_counter() - begin
        if server.version != len(cpu):
            raise RuntimeError(f"{len(cpu)} rounds made {server.version} versions")
    rounds = len(cpu)
    return ServerRate(
        agents, cohort, 1e3 * float(np.median(cpu)), agents * rounds / wall,
        agents * rounds / sum(cpu),
    )  # fmt: skip


def server_rates() -> list[ServerRate]:
    """Every population, one message an agent and one a cohort."""
    return [
        measure_server(agents, cohort, SECONDS) for agents in POPULATIONS for cohort in (1, COHORT)
    ]
