"""A run's trackers, as the driver sees them: processes that it starts and never waits for.

Ray's Prometheus endpoint alone is told by the driver itself, which only sets values in memory.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_dict
from metagenrl.runs.rows import MetricsRow
from metagenrl.tracking.follower_job import FollowerJob
from metagenrl.tracking.process import CLOSE_SECONDS, TrackerProcess
from metagenrl.tracking.wandb.variables import switched_off

if TYPE_CHECKING:  # Ray: only where the engine is
    from metagenrl.tracking.prometheus import PrometheusExport

FOLLOWER = "metagenrl.tracking.follower"
POLL_SECONDS = 2.0

logger = logging.getLogger(__name__)


class Tracking:
    """The trackers of one run; what they have to say becomes lines of the run's log."""

    def __init__(self, config: TrainConfig, run: str) -> None:
        self._followers = [
            TrackerProcess(job.tracker, FOLLOWER, job.to_json(), job.log)
            for job in _jobs(config, run)
        ]
        self._due = 0.0
        ray = config.engine == "ray"
        self._export = _prometheus(config.run_dir.name, config.agents) if ray else None

    def take(self, rows: Sequence[MetricsRow]) -> None:
        """Rows that were written: followers read them themselves, Ray's endpoint is told."""
        if self._export is None:
            return
        try:
            self._export.take(rows)
        except Exception as error:
            self._export = None
            logger.warning("prometheus: %r; training goes on without it", error)

    def poll(self) -> None:
        """Pass on what trackers said, every few seconds; cheap enough for every round."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + POLL_SECONDS
            for follower in self._followers:
                follower.poll()

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Let the trackers show the rest and end; after `timeout` seconds end them."""
        deadline = time.monotonic() + timeout
        for follower in self._followers:
            follower.release()
        for follower in self._followers:
            follower.wait(deadline)


def _prometheus(run_name: str, agents: int) -> PrometheusExport | None:
    """Ray's endpoint, where it can be had."""
    from metagenrl.tracking.prometheus import PrometheusExport

    try:
        return PrometheusExport(run_name, agents)
    except Exception as error:
        logger.warning("prometheus: %r; training goes on without it", error)
        return None


def _jobs(config: TrainConfig, run: str) -> list[FollowerJob]:
    values, folder = to_dict(config), str(config.run_dir.absolute())
    jobs = []
    if config.wandb != "disabled" and not switched_off():
        per_agent = config.tracking.wandb_per_agent
        jobs.append(
            FollowerJob("wandb", folder, run, config.agents, values, config.wandb, per_agent)
        )
    if config.tracking.tensorboard:
        jobs.append(FollowerJob("tensorboard", folder, run, config.agents, values))
    return jobs
