"""Episodes of a kept policy, with a picture of each step where asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metagenrl.agents.environment import calls
from metagenrl.agents.environment.guard import as_exceptions
from metagenrl.agents.environment.limits import EPISODE_LIMIT
from metagenrl.agents.environment.make import (
    EnvironmentFacts,
    close_environment,
    make_environment,
)
from metagenrl.agents.environment.refusal import in_words
from metagenrl.agents.experience.rollout import Episode
from metagenrl.base.checks import UsageError
from metagenrl.policies.kept import KeptPolicy
from metagenrl.policies.network import acting

Frame = NDArray[np.uint8]  # [H, W, 3]
SMALLEST = 16
"""Pixels of a picture's height and width that encoders of films take."""


class CannotDraw(UsageError):  # noqa: N818 - reads as the event it is
    """This machine lacks what a picture of the environment needs."""


def prepare_drawing() -> None:
    """Choose how to draw without a display: EGL for MuJoCo, pygame's dummy driver for Box2D.

    Before MuJoCo is imported; what the user has set stays.
    """
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")  # else pygame complains without a sound card
    if not has_display():
        os.environ.setdefault("MUJOCO_GL", "egl")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")


def has_display() -> bool:
    """Whether there is a screen to open a window on."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def episode(
    policy: KeptPolicy,
    seed: int,
    mode: str | None = None,
    show: Callable[[Frame], None] | None = None,
    most: int | None = None,
    acted: Callable[[NDArray[np.float64]], None] | None = None,
    every: int = 1,
) -> Episode:
    """One episode from the initial state of `seed`, at most `most` steps.

    `most`: None for the whole episode, which is `EPISODE_LIMIT` steps at most in an environment
    without a limit. `mode`: None, "human" (a window) or "rgb_array", whose frames `show` gets:
    those of the states before every `every`-th step. `acted` gets each action `[A]` in [-1, 1].
    Raises `CannotDraw`, and `UsageError` where the environment raises or breaks its interface.
    """
    facts, act = policy.facts, acting(policy)
    low, high = np.array(facts.action_low), np.array(facts.action_high)
    env, made = _made(facts.env, mode)
    sizes = (facts.observation_size, facts.action_size)
    if (made.observation_size, made.action_size) != sizes:
        raise UsageError(
            f"environment: got {facts.env!r} with {made.observation_size} observations and "
            f"{made.action_size} actions, allowed: {sizes[0]} and {sizes[1]}, as the policy has"
        )
    if most is None and made.max_episode_steps is None:
        most = EPISODE_LIMIT
    space: Any = env.action_space
    try:
        observation, total, steps, over = calls.reset(env, made, seed), 0.0, 0, False
        while not over and steps != most:
            if show is not None and steps % every == 0:
                show(drawn(env, facts.env))
            action = act(np.asarray(observation, np.float32).reshape(-1)).astype(np.float64)
            if acted is not None:
                acted(action)
            scaled = np.clip(low + (action + 1) / 2 * (high - low), low, high)
            taken = scaled.astype(space.dtype).reshape(space.shape)
            observation, reward, over = calls.step(env, made, taken)
            total, steps = total + reward, steps + 1
    except calls.Fault as fault:
        raise UsageError(f"environment: got {facts.env!r} {fault}") from fault
    finally:
        close_environment(env, facts.env)
    return Episode(total, steps, cut=not over)


def _made(name: str, mode: str | None) -> tuple[Any, EnvironmentFacts]:
    """The environment, and its facts.

    Raises `ValueError`, and `CannotDraw` where only its pictures fail.
    """
    try:
        return make_environment(name, mode)
    except ValueError as error:
        if mode is None:
            raise
        raise _cannot_draw(name, error.__cause__ or error) from error


def _cannot_draw(name: str, error: BaseException) -> CannotDraw:
    reason = in_words(error)[:200]
    cannot = isinstance(error, NotImplementedError) or "argument 'render_mode'" in reason
    allowed = (
        "one that takes `render_mode` and has a `render` that gives a picture"
        if cannot
        else "one whose libraries are there; MuJoCo needs libegl1 (or libosmesa6 with "
        "MUJOCO_GL=osmesa), Box2D and the classic ones need pygame"
    )
    return CannotDraw(
        f"environment: got {name!r}, which cannot be drawn here ({reason}), allowed: {allowed}"
    )


def drawn(env: Any, name: str) -> Frame:
    """The environment's picture of now. Raises `CannotDraw`, one line, with what to install."""
    try:
        with as_exceptions():
            frame = env.render()
    except Exception as error:
        raise _cannot_draw(name, error) from error
    if not isinstance(frame, np.ndarray):
        raise CannotDraw(f"environment: got {name!r}, allowed: one that draws (rgb_array)")
    colours = frame.shape[2] if frame.ndim == 3 else 3 if frame.ndim == 2 else 0
    if frame.dtype != np.uint8 or colours not in (3, 4) or min(frame.shape[:2]) < SMALLEST:
        raise CannotDraw(
            f"environment: got {name!r}, whose render() returned {frame.dtype} {frame.shape}, "
            f"allowed: uint8 [height, width, 3], at least {SMALLEST} pixels in height and width"
        )
    return np.repeat(frame[..., None], 3, 2) if frame.ndim == 2 else frame[..., :3]
