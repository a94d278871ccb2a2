"""Interleaved measurement: every contestant once per repetition, so that drift hits all alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

WARM_UP_CALLS = 3
Clock = Literal["wall", "cpu"]
"""`cpu` is the calling thread's time: what a call costs where other work is running."""
BLOCK_SECONDS = 0.03
"""What takes less is called several times in a row, and their mean is one sample."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds a call."""

    minimum: float
    median: float
    samples: tuple[float, ...]

    @staticmethod
    def of(samples: list[float]) -> Timing:
        """Summary of at least one sample."""
        return Timing(min(samples), statistics.median(samples), tuple(samples))

    def per(self, steps: int) -> Timing:
        """The same for a call that does `steps` steps, a step."""
        return Timing.of([sample / steps for sample in self.samples])


def interleave(
    contestants: Mapping[str, Callable[[], object]],
    repetitions: int,
    block_seconds: float = BLOCK_SECONDS,
    clock: Clock = "wall",
) -> dict[str, Timing]:
    """Time each contestant `repetitions` times, in turns, after a warm-up."""
    now = time.thread_time if clock == "cpu" else time.perf_counter
    calls = {name: _calls(call, block_seconds, now) for name, call in contestants.items()}
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repetitions):
        for name, call in contestants.items():
            samples[name].append(_seconds(call, calls[name], now) * 1e3)
    return {name: Timing.of(values) for name, values in samples.items()}


def _calls(call: Callable[[], object], block_seconds: float, now: Callable[[], float]) -> int:
    """Warm up, and how many calls fill a block."""
    duration = min(_seconds(call, 1, now) for _ in range(WARM_UP_CALLS))
    return max(1, math.ceil(block_seconds / max(duration, 1e-9)))


def _seconds(call: Callable[[], object], calls: int, now: Callable[[], float]) -> float:
    begin = now()
    for _ in range(calls):
        call()
    return (now() - begin) / calls
