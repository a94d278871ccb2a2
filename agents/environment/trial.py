"""Tries an environment before a population is built on it: some steps, and what they return."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import gymnasium

from metagenrl.agents.environment.calls import PROCESSES, Fault, reset, step
from metagenrl.agents.environment.forks import copy_came_back, forks
from metagenrl.agents.environment.guard import foreign_threads, guarded
from metagenrl.agents.environment.make import EnvironmentFacts, check_environment, resolved

STEPS = 30
"""Steps of a trial."""
TRIES = 5
"""Episodes that are begun before an environment that raises in each is refused: one that raises
now and then is dealt with while training."""


@dataclass(frozen=True)
class Tried:
    """An environment that stood its trial."""

    text: str  # with the id that Gymnasium takes it for
    facts: EnvironmentFacts
    note: str = ""  # what it does to its process, if that is worth a line
    local: bool = False  # registered by what runs here: no other process has it


def try_here(text: str) -> Tried:
    """Make the environment and take some steps, in this process.

    Raises `ValueError`, one line, that names the environment, the call and what is allowed.
    """
    before, made = {thread.ident for thread in threading.enumerate()}, forks()
    facts = check_environment(text, _try)
    if copy_came_back(made):
        raise ValueError(
            f"environment: got {text!r}, which calls os.fork() where it is made, allowed: "
            f"{PROCESSES}"
        )
    left = foreign_threads(before)
    threads = f"{text} leaves threads running ({', '.join(left)})"
    note = f"{threads}: the command waits for them at its end, a minute at most" if left else ""
    name = resolved(text)
    return Tried(name, replace(facts, env_id=name), note)


def _try(env: gymnasium.Env[Any, Any], facts: EnvironmentFacts) -> None:
    """Raises `ValueError` where no episode is as it should be."""
    text, fault = facts.env_id, None
    env.action_space.seed(0)
    for seed in range(TRIES):
        try:
            with guarded(text):
                _episode(env, facts, seed)
            return
        except Fault as error:
            fault = error
    assert fault is not None
    raise ValueError(f"environment: got {text!r} {fault}") from fault


def _episode(env: gymnasium.Env[Any, Any], facts: EnvironmentFacts, seed: int) -> None:
    reset(env, facts, seed)
    for _ in range(STEPS):
        if step(env, facts, env.action_space.sample())[2]:
            reset(env, facts, seed + TRIES)
