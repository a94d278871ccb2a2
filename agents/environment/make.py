"""Finds, makes and judges environments: which identifiers and which spaces are accepted.

Kept free of torch, so that a command line can check its arguments before anything heavy loads.
"""

from __future__ import annotations

import importlib
import logging
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pkgutil import resolve_name
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec, find_highest_version, get_env_id, parse_env_id

from metagenrl.agents.environment.guard import as_exceptions, at_most, guarded
from metagenrl.agents.environment.limits import CLOSE_TIMEOUT
from metagenrl.agents.environment.ranges import covers
from metagenrl.agents.environment.refusal import describe, explain, in_words, kind_and_words, refuse
from metagenrl.agents.environment.spec import EnvironmentSpec

_LOG = logging.getLogger(__name__)

FLATTEN = "gymnasium.wrappers:FlattenObservation"
_OBSERVATIONS = (
    f"a Box observation space (any shape), or the wrapper {FLATTEN} "
    "around a Dict, Tuple or Discrete"
)
_ACTIONS = "a Box action space of floats, every dimension with finite bounds"
_ENTRIES = "a Box space of at least one entry"
Trial = Callable[[gymnasium.Env[Any, Any], "EnvironmentFacts"], None]


@dataclass(frozen=True)
class EnvironmentFacts:
    """The facts of an environment that networks, buffers and reports need."""

    env_id: str  # its text, see `EnvironmentSpec`
    observation_size: int  # O, after flattening
    action_size: int  # A, after flattening
    max_episode_steps: int | None  # the time limit, which truncates; None: there is none


def check_environment(env_id: str, trial: Trial = lambda env, facts: None) -> EnvironmentFacts:
    """Make and close an environment; for validation before anything is started.

    `trial` is told what was made.

    Raises `ValueError`, one line, for an unknown identifier (naming the nearest known one), a
    missing dependency, arguments that it does not take and spaces that are not supported. Where
    arguments are ranges, both ends and each value of a choice are made and must have the same
    sizes.
    """
    facts = []
    for corner in _parsed(env_id).corners():
        env, found = make_environment(corner.text)
        try:
            trial(env, found)
        finally:
            close_environment(env, env_id)
        facts.append(replace(found, env_id=env_id))
    if len(set(facts)) > 1:
        refuse(env_id, "whose ranges change its sizes", "ranges that leave all spaces as they are")
    return facts[0]


def make_environment(
    env_id: str, render_mode: str | None = None
) -> tuple[gymnasium.Env[Any, Any], EnvironmentFacts]:
    """A new environment whose spaces are supported; raises as `check_environment`.

    `render_mode`: Gymnasium's, for one whose steps are to be seen.
    """
    with guarded(env_id):
        return _made(env_id, {} if render_mode is None else {"render_mode": render_mode})


def _made(env_id: str, seen: Mapping[str, Any]) -> tuple[gymnasium.Env[Any, Any], EnvironmentFacts]:
    spec = _parsed(env_id)
    try:
        _log_mujoco_warnings(spec.id)
        with warnings.catch_warnings(), as_exceptions():
            # Gymnasium warns of an old version, in two lines, before the error that says so.
            warnings.simplefilter("ignore")
            env: gymnasium.Env[Any, Any] = gymnasium.make(
                spec.id, disable_env_checker=True, **{**spec.arguments, **seen}
            )
    except Exception as error:
        known = _parsed(resolved(env_id)).id if isinstance(error, TypeError) else spec.id
        raise ValueError(explain(spec, error, known)) from error
    try:
        limit = None if env.spec is None else env.spec.max_episode_steps
        env = _wrapped(spec, env)
        return env, _judge(env_id, env, limit)
    except ValueError:
        close_environment(env, env_id)
        raise


def close_environment(env: gymnasium.Env[Any, Any], env_id: str) -> None:
    """Free what it holds. What it raises is logged: we have all that we need of it.

    After `CLOSE_TIMEOUT` seconds nobody waits any more.
    """
    with guarded(env_id):
        try:
            with as_exceptions(), at_most(CLOSE_TIMEOUT):
                env.close()  # type: ignore[no-untyped-call]
        except Exception as error:
            _LOG.warning("%s: close() raised %s", env_id, kind_and_words(error))


def resolved(env_id: str) -> str:
    """The text with the id that Gymnasium takes it for: `Pendulum` is `Pendulum-v1`.

    Arguments that are the registered ones anyway are dropped. What Gymnasium does not know stays
    as it is. Imports the module that the id names.
    """
    spec = _parsed(env_id)
    module, colon, name = spec.id.rpartition(":")
    try:
        with guarded(env_id), as_exceptions():
            importlib.import_module(module or "gymnasium")
        namespace, bare, version = parse_env_id(name)
        newest = find_highest_version(namespace, bare) if version is None else version
        name = get_env_id(namespace, bare, newest)
        found = gymnasium.registry[name]
    except Exception:
        return spec.text
    if str(found.entry_point).startswith("gymnasium.envs"):
        module = colon = ""  # which the id does not need
    kwargs = {n: v for n, v in spec.arguments.items() if not _is_registered(found, n, v)}
    return EnvironmentSpec(f"{module}{colon}{name}").extended(kwargs, spec.wrappers).text


def _is_registered(spec: EnvSpec, name: str, value: Any) -> bool:
    """Whether an environment is registered with this argument."""
    try:
        return name in spec.kwargs and bool(spec.kwargs[name] == value)
    except Exception:  # an array's, whose comparison has no one answer
        return False


def same_environment(one: str, other: str) -> bool:
    """Whether two texts name one environment: the same id to Gymnasium, arguments and wrappers."""
    try:
        a, b = (EnvironmentSpec.of(resolved(text)) for text in (one, other))
    except ValueError:
        return one == other
    return (a.id, a.arguments, a.wrappers) == (b.id, b.arguments, b.wrappers)


def includes(training: str, env: str) -> bool:
    """Whether lives in `training` may be in `env`: it is the same, or its values are drawn there.

    >>> includes('Pendulum-v1(g={"uniform": [6, 12]})', "Pendulum(g=9)")
    True
    """
    try:
        a, b = (EnvironmentSpec.of(resolved(text)) for text in (training, env))
    except ValueError:
        return training == env
    ours, theirs = a.arguments, b.arguments
    return (a.id, a.wrappers, ours.keys()) == (b.id, b.wrappers, theirs.keys()) and all(
        covers(ours[name], theirs[name]) for name in ours
    )


def _parsed(env_id: str) -> EnvironmentSpec:
    try:
        return EnvironmentSpec.of(env_id)
    except ValueError as error:
        raise ValueError(f"environment: {error}") from None


def _wrapped(spec: EnvironmentSpec, env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    for wrapper in spec.wrappers:
        try:
            with as_exceptions():
                env = resolve_name(wrapper)(env)
        except Exception as error:
            allowed = "module:Wrapper, which takes an environment and gives one"
            refuse(spec.text, f"whose wrapper {wrapper} raises {in_words(error)}", allowed)
        if not isinstance(env, gymnasium.Env):
            refuse(spec.text, f"whose wrapper {wrapper} gives {env!r}", "a Gymnasium environment")
    return env


def _log_mujoco_warnings(env_id: str) -> None:
    """Send MuJoCo's warnings to `logging`: by itself it prints them and writes MUJOCO_LOG.TXT.

    They go to every process's standard error and working folder, at each model that is loaded.
    """
    spec = gymnasium.registry.get(env_id.rpartition(":")[2])
    if spec is not None and "mujoco" in str(spec.entry_point):
        import mujoco  # only here: slow to load, and other environments do without it

        if mujoco.get_mju_user_warning() is None:
            mujoco.set_mju_user_warning(_log_mujoco_warning)


def _log_mujoco_warning(message: str) -> None:
    # A deprecated attribute in Gymnasium's own models concerns nobody who runs them; an unstable
    # simulation, which MuJoCo resets on the spot, does.
    _LOG.log(logging.INFO if "deprecated" in message else logging.WARNING, "MuJoCo: %s", message)


def _judge(env_id: str, env: gymnasium.Env[Any, Any], limit: int | None) -> EnvironmentFacts:
    """The environment's sizes; raises `ValueError` where a space is not supported."""
    try:
        observations, actions = env.observation_space, env.action_space
    except AttributeError as error:
        refuse(env_id, f"({error})", "an environment with observation_space and action_space")
    for space, kind in ((observations, "observation"), (actions, "action")):
        if isinstance(space, gymnasium.spaces.Box) and not math.prod(space.shape):
            refuse(env_id, f"with {kind} space {describe(space)}", _ENTRIES)
    if not isinstance(observations, gymnasium.spaces.Box):
        refuse(env_id, f"with observation space {describe(observations)}", _OBSERVATIONS)
    if not isinstance(actions, gymnasium.spaces.Box):
        refuse(env_id, f"with action space {describe(actions)}", _ACTIONS)
    if not np.issubdtype(actions.dtype, np.floating):
        refuse(env_id, f"with actions of type {actions.dtype}", _ACTIONS)
    unbounded = ~(np.isfinite(actions.low) & np.isfinite(actions.high)).reshape(-1)
    if unbounded.any():
        dimensions = ", ".join(map(str, np.flatnonzero(unbounded)[:10]))
        refuse(env_id, f"without finite bounds in action dimension {dimensions}", _ACTIONS)
    _judge_range(env_id, actions)
    return EnvironmentFacts(
        env_id=env_id,
        observation_size=math.prod(observations.shape),
        action_size=math.prod(actions.shape),
        max_episode_steps=limit,
    )


def _judge_range(env_id: str, actions: gymnasium.spaces.Box) -> None:
    """Refuse bounds between which no action can be computed."""
    low, high = (np.asarray(b, np.float64).reshape(-1) for b in (actions.low, actions.high))
    with np.errstate(over="ignore"):
        wrong = ~((high >= low) & np.isfinite(high - low))
    if wrong.any():
        d = int(np.flatnonzero(wrong)[0])
        refuse(
            env_id,
            f"whose action dimension {d} goes from {low[d]:g} to {high[d]:g}",
            "a lower bound, then a higher one at a finite distance",
        )
