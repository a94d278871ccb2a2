"""Tries an environment before a population is built on it: some steps, and what they return."""

from __future__ import annotations

import math
import threading
import warnings
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np

from metagenrl.agents.environment.forks import copies_ended, copy_came_back, forks
from metagenrl.agents.environment.guard import foreign_threads, guarded
from metagenrl.agents.environment.make import EnvironmentFacts, check_environment, resolved

STEPS = 30
"""Steps of a trial."""
TRIES = 5
"""Episodes that are begun before an environment that raises in each is refused: one that raises
now and then is dealt with while training."""

_PROCESSES = "subprocess or multiprocessing, whose processes do not go on with this one's work"
_RESET = "reset(self, *, seed=None, options=None), which returns (observation, info)"
_STEP = "step(action), which returns (observation, reward, terminated, truncated, info)"
_FLOAT32 = float(np.finfo(np.float32).max)
_AT_MOST = f"at most {_FLOAT32:.1e} (float32)"


@dataclass(frozen=True)
class Tried:
    """An environment that stood its trial."""

    text: str  # with the id that Gymnasium takes it for
    facts: EnvironmentFacts
    note: str = ""  # what it does to its process, if that is worth a line


class _Fault(Exception):  # noqa: N818 - reads as what it is
    """What a call did and what it should do."""

    def __init__(self, did: str, allowed: str) -> None:
        super().__init__(f"{did}, allowed: {allowed}")


def try_here(text: str) -> Tried:
    """Make the environment and take some steps, in this process.

    Raises `ValueError`, one line, that names the environment, the call and what is allowed.
    """
    before, made = {thread.ident for thread in threading.enumerate()}, forks()
    facts = check_environment(text, _try)
    if copy_came_back(made):
        raise ValueError(
            f"environment: got {text!r}, which calls os.fork() where it is made, allowed: "
            f"{_PROCESSES}"
        )
    left = foreign_threads(before)
    threads = f"{text} leaves threads running ({', '.join(left)})"
    note = f"{threads}: the command ends when they do" if left else ""
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
        except _Fault as error:
            fault = error
    assert fault is not None
    raise ValueError(f"environment: got {text!r} {fault}") from fault


def _episode(env: gymnasium.Env[Any, Any], facts: EnvironmentFacts, seed: int) -> None:
    _check_reset(_called(env, "reset", _RESET, seed=seed), facts)
    for _ in range(STEPS):
        returned = _called(env, "step", _STEP, env.action_space.sample())
        if not isinstance(returned, tuple) or len(returned) != 5:
            raise _Fault(f"whose step() returned {_shape(returned)}{_old(returned, 4)}", _STEP)
        observation, reward, terminated, truncated, _ = returned
        _check_observation("step()", observation, facts)
        _check_reward(reward)
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(flag, bool | np.bool_):
                raise _Fault(f"whose step() returned {name} = {flag!r}", "True or False")
        if terminated or truncated:
            _check_reset(_called(env, "reset", _RESET, seed=seed + TRIES), facts)


def _called(env: Any, call: str, allowed: str, *arguments: Any, **named: Any) -> Any:
    made = forks()
    try:
        with copies_ended():
            returned = getattr(env, call)(*arguments, **named)
        if copy_came_back(made):
            raise _Fault(f"whose {call}() called os.fork()", _PROCESSES)
        return returned
    except _Fault:
        raise
    except SystemExit as error:
        raise _Fault(f"whose {call}() called sys.exit({error.code!r})", "exceptions") from error
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise _Fault(f"whose {call}() raised {words}", allowed) from error


def _check_reset(returned: Any, facts: EnvironmentFacts) -> None:
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise _Fault(f"whose reset() returned {_shape(returned)}{_old(returned, 0)}", _RESET)
    _check_observation("reset()", returned[0], facts)


def _check_observation(call: str, observation: Any, facts: EnvironmentFacts) -> None:
    allowed = f"{facts.observation_size} finite numbers, as its observation_space says"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # complex numbers, whose second part would be dropped
            flat = np.asarray(observation, np.float64).reshape(-1)
    except (TypeError, ValueError, Warning):
        raise _Fault(f"whose {call} returned the observation {_brief(observation)}", allowed) from (
            None
        )
    if flat.size != facts.observation_size:
        raise _Fault(f"whose {call} returned an observation of {flat.size} numbers", allowed)
    wrong = flat[~(np.abs(flat) <= _FLOAT32)]  # NaN as well
    if wrong.size:
        raise _Fault(f"whose {call} returned an observation with {float(wrong[0])} in it",
                     f"{allowed}, each {_AT_MOST}")  # fmt: skip


def _check_reward(reward: Any) -> None:
    try:
        value = float(np.asarray(reward).item())
    except (TypeError, ValueError):
        value = math.nan
    if not abs(value) <= _FLOAT32:
        allowed = f"one finite number, {_AT_MOST}"
        raise _Fault(f"whose step() returned the reward {_brief(reward)}", allowed)


def _old(returned: Any, length: int) -> str:
    """A word on gym before 0.26, whose steps had four values and whose resets one."""
    there = len(returned) if isinstance(returned, tuple) else 0
    return " (gym's old interface)" if there == length else ""


def _shape(returned: Any) -> str:
    if isinstance(returned, tuple):
        return f"{len(returned)} values"
    return f"a single {type(returned).__name__}"


def _brief(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
