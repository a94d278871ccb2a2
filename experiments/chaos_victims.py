"""Whom chaos kills. Another kind of process is another entry of `VICTIMS`."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chaos_population import Population


@dataclass(frozen=True)
class Victim:
    """A kind of process: how often it is chosen, and how one is killed (False: there is none)."""

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
    return _kill_one(population.actors("AgentActor"), rng)


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


VICTIMS = (
    Victim("agent", 14.0, _agent),
    Victim("objective server", 4.5, _server),
    Victim("driver", 1.0, _driver),
    Victim("redis", 1.5, _redis),
    Victim("raylet", 0.3, _raylet),
    Victim("node", 0.3, _node),
)
