"""Calls of an environment whose answers are checked: what did not keep to Gymnasium's interface."""

from __future__ import annotations

import math
import warnings
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from metagenrl.agents.environment.forks import copies_ended, copy_came_back, forks
from metagenrl.agents.environment.guard import EnvironmentExit, as_exceptions
from metagenrl.agents.environment.make import EnvironmentFacts
from metagenrl.agents.environment.refusal import kind_and_words
from metagenrl.base.checks import brief

PROCESSES = "subprocess or multiprocessing, whose processes do not go on with this one's work"
_RESET = "reset(self, *, seed=None, options=None), which returns (observation, info)"
_STEP = "step(action), which returns (observation, reward, terminated, truncated, info)"
_FLOAT32 = float(np.finfo(np.float32).max)
_AT_MOST = f"at most {_FLOAT32:.1e} (float32)"


class Fault(Exception):  # noqa: N818 - reads as what it is
    """What a call did and what it should do, to be written behind the environment's name."""

    def __init__(self, did: str, allowed: str) -> None:
        super().__init__(f"{did}, allowed: {allowed}")


def reset(env: gymnasium.Env[Any, Any], facts: EnvironmentFacts, seed: int) -> Any:
    """The first observation of an episode. Raises `Fault`."""
    returned = called(env, "reset", _RESET, seed=seed)
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise Fault(f"whose reset() returned {_shape(returned)}{_old(returned, 0)}", _RESET)
    _check_observation("reset()", returned[0], facts)
    return returned[0]


def step(
    env: gymnasium.Env[Any, Any], facts: EnvironmentFacts, action: NDArray[Any]
) -> tuple[Any, float, bool]:
    """Observation, reward, and whether the episode is over. Raises `Fault`."""
    returned = called(env, "step", _STEP, action)
    if not isinstance(returned, tuple) or len(returned) != 5:
        raise Fault(f"whose step() returned {_shape(returned)}{_old(returned, 4)}", _STEP)
    observation, reward, terminated, truncated, _ = returned
    _check_observation("step()", observation, facts)
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if not _is_truth(flag):
            raise Fault(f"whose step() returned {name} = {brief(flag)}", "True or False")
    return observation, _number(reward), bool(terminated) or bool(truncated)


def called(env: Any, call: str, allowed: str, *arguments: Any, **named: Any) -> Any:
    """What the call returns. Raises `Fault` where it raises anything."""
    made = forks()
    try:
        with copies_ended(), as_exceptions():
            returned = getattr(env, call)(*arguments, **named)
        if copy_came_back(made):
            raise Fault(f"whose {call}() called os.fork()", PROCESSES)
        return returned
    except Fault:
        raise
    except EnvironmentExit as error:
        raise Fault(f"whose {call}() {error}", "exceptions") from error
    except Exception as error:
        raise Fault(f"whose {call}() raised {kind_and_words(error)}", allowed) from error


def _check_observation(call: str, observation: Any, facts: EnvironmentFacts) -> None:
    allowed = f"{facts.observation_size} finite numbers, as its observation_space says"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # complex numbers, whose second part would be dropped
            flat = np.asarray(observation, np.float64).reshape(-1)
    except Exception:  # whatever the object's own `__array__` raises
        raise Fault(f"whose {call} returned the observation {brief(observation)}", allowed) from (
            None
        )
    if flat.size != facts.observation_size:
        raise Fault(f"whose {call} returned an observation of {flat.size} numbers", allowed)
    wrong = flat[~(np.abs(flat) <= _FLOAT32)]  # NaN as well
    if wrong.size:
        raise Fault(f"whose {call} returned an observation with {float(wrong[0])} in it",
                     f"{allowed}, each {_AT_MOST}")  # fmt: skip


def _number(reward: Any) -> float:
    try:
        value = float(np.asarray(reward).item())
    except Exception:  # whatever the object's own `__array__` raises
        value = math.nan
    if not abs(value) <= _FLOAT32:
        allowed = f"one finite number, {_AT_MOST}"
        raise Fault(f"whose step() returned the reward {brief(reward)}", allowed)
    return value


def _is_truth(flag: Any) -> bool:
    """One truth value, which an array of one is too."""
    try:
        array = np.asarray(flag)
        return array.dtype == np.bool_ and array.size == 1
    except Exception:  # whatever the object's own `__array__` raises
        return False


def _old(returned: Any, length: int) -> str:
    """A word on gym before 0.26, whose steps had four values and whose resets one."""
    there = len(returned) if isinstance(returned, tuple) else 0
    return " (gym's old interface)" if there == length else ""


def _shape(returned: Any) -> str:
    if isinstance(returned, tuple):
        return f"{len(returned)} values"
    return f"a single {type(returned).__name__}"
