"""What a run takes from the machine, now and then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import psutil

from metagenrl.runs.rows import Moment
from metagenrl.runs.run_records import SystemRow

INTERVAL = 30.0
"""Seconds between two rows: looking at every process takes some 10 ms."""


class SystemMeter:
    """Measures this process and those below it, once in `interval` seconds at most."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._due = float("-inf")
        self._driver = psutil.Process()

    def due(self) -> bool:
        """Whether it is time for the next row; if so, the one after it is `interval` away."""
        now = time.monotonic()
        if now < self._due:
            return False
        self._due = now + self._interval
        return True

    def row(
        self,
        moment: Moment,
        agent_steps: int,
        rate: float | None,
        lags: Sequence[int],
        held_out_waiting: int,
    ) -> SystemRow:
        """The machine as it is now. `lags`: of each agent, in versions."""
        driver = self._driver.memory_info().rss
        resident = [driver, *self._resident_below()]
        return SystemRow(
            time=moment.time,
            round=moment.round,
            version=moment.version,
            agent_steps=agent_steps,
            agent_steps_per_s=rate,
            rss=sum(resident),
            rss_driver=driver,
            processes=len(resident),
            lag_mean=sum(lags) / len(lags),
            lag_max=max(lags),
            held_out_waiting=held_out_waiting,
        )

    def _resident_below(self) -> list[int]:
        found = []
        below: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):  # one ended, or it finds our own start implausible
            below = self._driver.children(recursive=True)
        for process in below:
            try:
                found.append(process.memory_info().rss)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue  # it ended while we looked
        return found
