"""Episodes of a kept policy, with a picture of each step where asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metagenrl.agents.environment.limits import EPISODE_LIMIT
from metagenrl.agents.environment.make import make_environment
from metagenrl.agents.experience.rollout import Episode
from metagenrl.base.checks import UsageError
from metagenrl.policies.kept import KeptPolicy
from metagenrl.policies.network import acting

Frame = NDArray[np.uint8]  # [H, W, 3]


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
    most: int = EPISODE_LIMIT,
    acted: Callable[[NDArray[np.float64]], None] | None = None,
    every: int = 1,
) -> Episode:
    """One episode from the initial state of `seed`, at most `most` steps.

    `mode`: None, "human" (a window) or "rgb_array", whose frames `show` gets: those of the states
    before every `every`-th step. `acted` gets each action `[A]` in [-1, 1]. Raises `CannotDraw` and
    whatever the environment raises.
    """
    facts, act = policy.facts, acting(policy)
    low, high = np.array(facts.action_low), np.array(facts.action_high)
    env = _made(facts.env, mode)
    space: Any = env.action_space
    try:
        observation, _ = env.reset(seed=seed)
        total, steps, over = 0.0, 0, False
        while not over and steps != most:
            if show is not None and steps % every == 0:
                show(drawn(env, facts.env))
            action = act(np.asarray(observation, np.float32).reshape(-1)).astype(np.float64)
            if acted is not None:
                acted(action)
            scaled = np.clip(low + (action + 1) / 2 * (high - low), low, high)
            taken = env.step(scaled.astype(space.dtype).reshape(space.shape))
            observation, reward, terminated, truncated, _ = taken
            total, steps, over = total + float(reward), steps + 1, terminated or truncated
    finally:
        env.close()
    return Episode(total, steps)


def _made(name: str, mode: str | None) -> Any:
    """The environment. Raises `ValueError`, and `CannotDraw` where only its pictures fail."""
    try:
        return make_environment(name, mode)[0]
    except ValueError as error:
        if mode is None:
            raise
        raise _cannot_draw(name, error.__cause__ or error) from error


def _cannot_draw(name: str, error: BaseException) -> CannotDraw:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
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
        frame = env.render()
    except Exception as error:
        raise _cannot_draw(name, error) from error
    if not isinstance(frame, np.ndarray):
        raise CannotDraw(f"environment: got {name!r}, allowed: one that draws (rgb_array)")
    return frame
