"""Finds, makes and judges environments: which identifiers and which spaces are accepted.

Kept free of torch, so that a command line can check its arguments before anything heavy loads.
"""

from __future__ import annotations

import difflib
import logging
import math
import re
import warnings
from dataclasses import dataclass
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

_LOG = logging.getLogger(__name__)

_IDENTIFIERS = "the id of an installed Gymnasium environment"
_OBSERVATIONS = "a Box observation space (any shape; not Dict, Tuple or Discrete)"
_ACTIONS = "a Box action space of floats, every dimension with finite bounds"


@dataclass(frozen=True)
class EnvironmentSpec:
    """What networks, buffers and reports need to know of an environment."""

    env_id: str
    observation_size: int  # O, after flattening
    action_size: int  # A, after flattening
    max_episode_steps: int | None  # the time limit, which truncates; None: there is none


def check_environment(env_id: str) -> EnvironmentSpec:
    """Make and close an environment; for validation before anything is started.

    Raises `ValueError`, one line, for an unknown identifier (naming the nearest known one), a
    missing dependency and spaces that are not supported.
    """
    env, spec = make_environment(env_id)
    env.close()  # type: ignore[no-untyped-call]
    return spec


def make_environment(env_id: str) -> tuple[gymnasium.Env[Any, Any], EnvironmentSpec]:
    """A new environment whose spaces are supported; raises as `check_environment`."""
    try:
        _log_mujoco_warnings(env_id)
        with warnings.catch_warnings():
            # Gymnasium warns of an old version, in two lines, before the error that says so.
            warnings.simplefilter("ignore")
            env: gymnasium.Env[Any, Any] = gymnasium.make(env_id, disable_env_checker=True)
    except Exception as error:
        raise ValueError(_explain(env_id, error)) from error
    try:
        return env, _judge(env_id, env)
    except ValueError:
        env.close()  # type: ignore[no-untyped-call]
        raise


def _log_mujoco_warnings(env_id: str) -> None:
    """Send MuJoCo's warnings to `logging`: by itself it prints them and writes MUJOCO_LOG.TXT.

    They go to every process's standard error and working folder, at each model that is loaded.
    """
    spec = gymnasium.registry.get(env_id)
    if spec is not None and "mujoco" in str(spec.entry_point):
        import mujoco  # only here: slow to load, and other environments do without it

        if mujoco.get_mju_user_warning() is None:
            mujoco.set_mju_user_warning(_log_mujoco_warning)


def _log_mujoco_warning(message: str) -> None:
    # A deprecated attribute in Gymnasium's own models concerns nobody who runs them; an unstable
    # simulation, which MuJoCo resets on the spot, does.
    _LOG.log(logging.INFO if "deprecated" in message else logging.WARNING, "MuJoCo: %s", message)


def _explain(env_id: str, error: Exception) -> str:
    """One line on why `env_id` could not be made."""
    reason = " ".join(str(error).split()) or type(error).__name__
    missing = isinstance(error, ImportError | gymnasium.error.DependencyNotInstalled)
    what = "it or a package it needs is not installed" if missing else "it cannot be made"
    nearest = _nearest(env_id)
    hint = f", for example {nearest}" if nearest and nearest != env_id else ""
    return f"environment: got {env_id!r}, allowed: {_IDENTIFIERS}{hint} ({what}: {reason})"


def _nearest(env_id: str) -> str | None:
    """The registered identifier with the most similar name, in its newest version."""
    newest: dict[str, EnvSpec] = {}
    for spec in gymnasium.registry.values():
        name = f"{spec.namespace}/{spec.name}".lower() if spec.namespace else spec.name.lower()
        if name not in newest or (spec.version or 0) > (newest[name].version or 0):
            newest[name] = spec
    wanted = re.sub(r"-v\d+$", "", env_id.rpartition(":")[2]).lower()
    names = difflib.get_close_matches(wanted, newest, n=1)
    return newest[names[0]].id if names else None


def _judge(env_id: str, env: gymnasium.Env[Any, Any]) -> EnvironmentSpec:
    """The environment's sizes; raises `ValueError` where a space is not supported."""
    observations, actions = env.observation_space, env.action_space
    if not isinstance(observations, gymnasium.spaces.Box) or not math.prod(observations.shape):
        _refuse(env_id, f"with observation space {_describe(observations)}", _OBSERVATIONS)
    if not isinstance(actions, gymnasium.spaces.Box) or not math.prod(actions.shape):
        _refuse(env_id, f"with action space {_describe(actions)}", _ACTIONS)
    if not np.issubdtype(actions.dtype, np.floating):
        _refuse(env_id, f"with actions of type {actions.dtype}", _ACTIONS)
    unbounded = ~(np.isfinite(actions.low) & np.isfinite(actions.high)).reshape(-1)
    if unbounded.any():
        dimensions = ", ".join(map(str, np.flatnonzero(unbounded)[:10]))
        _refuse(env_id, f"without finite bounds in action dimension {dimensions}", _ACTIONS)
    return EnvironmentSpec(
        env_id=env_id,
        observation_size=math.prod(observations.shape),
        action_size=math.prod(actions.shape),
        max_episode_steps=None if env.spec is None else env.spec.max_episode_steps,
    )


def _describe(space: gymnasium.Space[Any]) -> str:
    """A space in one line, shortened."""
    text = " ".join(str(space).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _refuse(env_id: str, found: str, allowed: str) -> NoReturn:
    raise ValueError(f"environment: got {env_id!r} {found}, allowed: {allowed}")
