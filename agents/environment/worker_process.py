"""A process that owns environments and steps them for another one; see `remote`.

It needs no torch, so that many of them take little memory. It ends when its pipe closes, or with
the process that started it, even while an environment hangs.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

from metagenrl.agents.environment.environment import Array, Environment
from metagenrl.agents.environment.make import EnvironmentFacts
from metagenrl.agents.seeding import restore_rng
from metagenrl.base.checks import brief
from metagenrl.base.descriptors import far_copy
from metagenrl.base.ending import end_what_is_left
from metagenrl.base.job_process import when_parent_ends

Method = Literal["make", "reset", "step", "abandon", "close", "state", "load"]

_METHODS: dict[Method, Callable[..., Any]] = {
    "reset": Environment.reset,
    "step": Environment.step,
    "abandon": Environment.abandon_episode,
    "close": Environment.close,
    "state": Environment.state_dict,
    "load": Environment.load_state_dict,
}
_PARENT_GONE_EXIT = 3


@dataclass(frozen=True, eq=False)
class Call:
    """A call for the environment of this number."""

    environment: int
    method: Method
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False)
class Answer:
    """The result of a call, and the environment's state after it."""

    environment: int
    result: Any
    error: Exception | None = None  # which the environment raised
    facts: EnvironmentFacts | None = None  # None: there is no such environment
    observation: Array | None = None
    episode_return: float = 0.0
    episode_length: int = 0


def answer(environments: dict[int, Environment], call: Call) -> Answer:
    """Carry out a call; what it raises goes into the answer."""
    number, result, error = call.environment, None, None
    try:
        if call.method == "make":
            env_id, rng = call.arguments
            environments[number] = Environment(env_id, restore_rng(rng))
        else:
            result = _METHODS[call.method](environments[number], *call.arguments)
    except Exception as raised:
        error = _portable(raised)
    environment = environments.get(number)
    if environment is None:
        return Answer(number, result, error)
    if call.method == "close":
        del environments[number]
    return Answer(
        number, result, error, environment.facts, environment.observation,
        environment.episode_return, environment.episode_length,
    )  # fmt: skip


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note; one that cannot travel is told in words."""
    error.add_note("in the environment's process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        told = RuntimeError(brief(error, 400))
        told.add_note(error.__notes__[-1])
        return told
    return error


def serve(pipe: Connection) -> None:
    """Answer calls in the order in which they come, until the pipe closes."""
    environments: dict[int, Environment] = {}
    while True:
        try:
            call = pipe.recv()
        except EOFError:
            return
        pipe.send(answer(environments, call))


def _parent_gone() -> None:
    end_what_is_left()
    os._exit(_PARENT_GONE_EXIT)


def main() -> None:
    """The process; its argument is the number of the pipe's file descriptor."""
    when_parent_ends(_parent_gone)
    given = int(sys.argv[1])
    pipe = far_copy(given)
    os.close(given)
    serve(Connection(pipe))
    end_what_is_left()
    os._exit(0)  # whatever threads the environments have left
