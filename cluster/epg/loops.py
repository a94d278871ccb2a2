"""Where inner loops of Evolved Policy Gradients run: in this process, or (`ray_loops`) on Ray."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from metagenrl.base.checks import brief
from metagenrl.baselines.epg.inner_loop import InnerLoop, InnerLoopResult, run_inner_loop

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopEnded:
    """An inner loop that came to its end."""

    index: int  # in the generation
    result: InnerLoopResult | None  # None where it failed
    failure: str = ""  # why, in one line


class Loops(Protocol):
    """Carries out the inner loops of one generation after the other."""

    def run(self, loops: Sequence[InnerLoop], on_end: Callable[[LoopEnded], None]) -> None:
        """Carry out all of them; `on_end` hears of each once, in no particular order.

        Raises `RuntimeError` where workers cannot be kept alive.
        """

    def close(self) -> None:
        """End what was started."""


class InProcessLoops:
    """One after the other, here; see `Loops`."""

    def run(self, loops: Sequence[InnerLoop], on_end: Callable[[LoopEnded], None]) -> None:
        for index, loop in enumerate(loops):
            try:
                ended = LoopEnded(index, run_inner_loop(loop))
            except Exception as error:
                logger.exception("an inner loop failed in %s", loop.env)
                ended = LoopEnded(index, None, brief(error, 400))
            on_end(ended)

    def close(self) -> None:
        """Nothing was opened."""
