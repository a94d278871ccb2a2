"""How fast a run goes, and how long it will take."""

from __future__ import annotations

from collections import deque

WINDOW = 60.0
"""Seconds over which a rate is averaged."""


class RateMeter:
    """Steps per second over the last `window` seconds, from (time, steps) pairs."""

    def __init__(self, window: float = WINDOW) -> None:
        self._window = window
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, time: float, steps: int) -> float | None:
        """Note that `steps` were done by `time` (seconds); the rate, None while unknown."""
        samples = self._samples
        if samples and steps < samples[-1][1]:  # agents came back from a checkpoint
            samples.clear()
        # A round is milliseconds long at small sizes: keep 100 samples a window, not all.
        if not samples or time - samples[-1][0] >= self._window / 100:
            samples.append((time, steps))
        while len(samples) > 2 and time - samples[1][0] >= self._window:
            samples.popleft()
        start, done = samples[0]
        return (steps - done) / (time - start) if time > start else None


def seconds_left(done: int, goal: int, rate: float | None) -> float | None:
    """Seconds until `goal` at `rate` steps per second; None while the rate is unknown or 0."""
    return max(0, goal - done) / rate if rate else None


def duration(seconds: float | None) -> str:
    """`1:02:03`, or `2d 01:02:03`; `?` for None."""
    if seconds is None:
        return "?"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour:02d}:{minute:02d}:{second:02d}" if days else f"{hour}:{minute:02d}:{second:02d}"
    return f"{days}d {clock}" if days else clock
