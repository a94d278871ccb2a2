"""What chaos does, and to whom. Another kind of event is another entry of `VICTIMS`."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chaos_far_node import FarNode
from chaos_population import DEADLINE, Population


@dataclass(frozen=True)
class Victim:
    """A kind of event: how often it is chosen, and what makes it (False: not just then)."""

    name: str
    weight: float
    kill: Callable[[Population, random.Random], bool]


def _kill_one(processes: Sequence[int], rng: random.Random) -> bool:
    if not processes:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(rng.choice(sorted(processes)), signal.SIGKILL)
        return True
    return False


def _agent(population: Population, rng: random.Random) -> bool:
    return _kill_one(population.actors("CohortActor"), rng)


def _server(population: Population, rng: random.Random) -> bool:
    return _kill_one(population.actors("ServerActor"), rng)


def _driver(population: Population, rng: random.Random) -> bool:
    return _kill_one(population.driver(), rng)


def _redis(population: Population, rng: random.Random) -> bool:
    return population.redis.kill(rng)


def _raylet(population: Population, rng: random.Random) -> bool:
    return population.lose_raylet(rng)


def _node(population: Population, rng: random.Random) -> bool:
    return population.lose_node(rng)


def _stop_one(population: Population, processes: Sequence[int], rng: random.Random) -> bool:
    """For longer than a round waits, and sometimes than two of them, after which it is hung."""
    if not processes:
        return False
    return population.pauses.stop(rng.choice(sorted(processes)), rng.uniform(1.1, 3.0) * DEADLINE)


def _stopped_agent(population: Population, rng: random.Random) -> bool:
    return _stop_one(population, population.actors("CohortActor"), rng)


def _stopped_server(population: Population, rng: random.Random) -> bool:
    return _stop_one(population, population.actors("ServerActor"), rng)


def _stopped_driver(population: Population, rng: random.Random) -> bool:
    return _stop_one(population, population.driver(), rng)


def _terminated(population: Population, rng: random.Random) -> bool:
    return population.terminate()


def _full_redis(population: Population, rng: random.Random) -> bool:
    return population.redis.fill(rng)


def _partition(population: Population, rng: random.Random) -> bool:
    return population.far is not None and population.far.cut(rng)


VICTIMS = (
    Victim("agent", 14.0, _agent),
    Victim("objective server", 4.5, _server),
    Victim("driver", 1.0, _driver),
    Victim("redis", 1.5, _redis),
    Victim("raylet", 0.3, _raylet),
    Victim("node", 0.3, _node),
    Victim("SIGTERM to the driver", 1.0, _terminated),
    Victim("agent stopped", 1.5, _stopped_agent),
    Victim("objective server stopped", 0.7, _stopped_server),
    Victim("driver stopped", 0.5, _stopped_driver),
    Victim("redis full", 1.5, _full_redis),
    *((Victim("partition", 0.5, _partition),) if FarNode.possible() else ()),
)
