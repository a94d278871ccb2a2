"""Weights & Biases in a run's follower: the population as it meta-trains.

One run for the whole population, one for its held-out tests where there are such, which shows
from which version of alpha each came, and if wanted one for each agent; all in one group.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from metagenrl.objective_server.snapshots.find import snapshot_path
from metagenrl.runs.rows import AgentRow, MetricsRow
from metagenrl.runs.run_records import ScoreRow, SnapshotRow
from metagenrl.tracking.follower_job import FollowerJob
from metagenrl.tracking.keys import AXIS, HELD_OUT_AXIS, WAITING
from metagenrl.tracking.values import Values, by_agent
from metagenrl.tracking.wandb.account import wandb_id
from metagenrl.tracking.wandb.run import (
    BEST,
    OBJECTIVE,
    RunSpec,
    WandbRun,
    open_run,
    sync_hint,
)

PICTURE_SECONDS = 300.0
"""Seconds between two heat maps of the population: one takes most of a second to draw."""

logger = logging.getLogger(__name__)


class WandbLog:
    """A run's `Sink`. Its files lie in `run_dir/wandb`; resuming goes on with the same W&B runs."""

    def __init__(self, job: FollowerJob) -> None:
        self._job = job
        self._agents: dict[str, WandbRun] = {}
        self._envs: dict[str, str] = {}  # of each agent, as in its keys
        self._held_out: WandbRun | None = None
        self._rows: list[AgentRow] = []
        self._best: int | None = None
        self._picture_due = time.monotonic() + PICTURE_SECONDS
        self._run = open_run(job.mode, self._spec("population"))
        self._define_axes()

    @property
    def mode(self) -> str:
        """That of the W&B run: `online` may have become `offline`."""
        return self._run.mode

    def log(self, values: Values, step: int) -> None:
        self._run.log(values, step)
        if self._held_out is not None and HELD_OUT_AXIS in values:
            of_tests = {key: v for key, v in values.items() if key.startswith("heldout/")}
            self._held_out.log(of_tests, step)
        if self._job.per_agent:
            for agent, of_agent in by_agent(values).items():
                self._agent(agent).log(of_agent, step)

    def remember(self, rows: list[MetricsRow]) -> None:
        """The agents' rows make the heat map."""
        for row in rows:
            if isinstance(row, AgentRow):
                self._rows.append(row)
                self._envs[f"{row.agent:02d}"] = row.env
        if time.monotonic() >= self._picture_due:
            self._picture()

    def snapshot(self, row: SnapshotRow) -> None:
        """An artifact, which W&B shows as made by this run."""
        self._run.made(OBJECTIVE, self._file(row.version))

    def score(self, row: ScoreRow) -> None:
        """The tests used the version; a new best one goes into a collection apart."""
        if self._held_out is None:
            self._held_out = self._run.sibling(self._spec("held-out", "held-out"))
            self._held_out.axis("heldout/*", HELD_OUT_AXIS)
        self._held_out.used(self._file(row.version))
        best = row.best_version
        if best is not None and best != self._best:
            self._best = best
            self._run.made(BEST, self._file(best))

    def finish(self) -> None:
        """Says how to upload an offline run."""
        self._picture()
        tests = () if self._held_out is None else (self._held_out,)
        for run in (*self._agents.values(), *tests, self._run):
            run.finish()
        if self.mode == "offline":
            logger.warning("%s", sync_hint(self._job.folder))

    def _spec(self, kind: str, part: str = "", env: str = "") -> RunSpec:
        """The population's run or, with `part`, one that is about a part of it."""
        group, name = wandb_id(self._job.run), Path(self._job.run_dir).name
        return RunSpec(
            id=f"{group}-{part}" if part else group,
            name=" ".join(filter(None, (name, part, env))),
            kind=kind,
            group=group,
            folder=Path(self._job.run_dir),
            config=self._job.config | ({"agent_index": int(part), "env": env} if env else {}),
        )

    def _agent(self, agent: str) -> WandbRun:
        if agent not in self._agents:
            run = self._run.sibling(self._spec("agent", agent, self._envs[agent]))
            run.axis("*", AXIS)
            self._agents[agent] = run
        return self._agents[agent]

    def _define_axes(self) -> None:
        self._run.hide(AXIS)
        for prefix in ("population", "meta", "objective", "server", "system"):
            self._run.axis(f"{prefix}/*", AXIS)
        self._run.axis("heldout/*", HELD_OUT_AXIS)
        self._run.axis(WAITING, AXIS)
        for index in range(self._job.agents):
            self._run.axis(f"agent/{index:02d}/*", f"agent/{index:02d}/steps")

    def _file(self, version: int) -> Path:
        return snapshot_path(Path(self._job.run_dir), version)

    def _picture(self) -> None:
        self._picture_due = time.monotonic() + PICTURE_SECONDS
        self._run.picture("population/heat_map", self._draw)

    def _draw(self) -> Path | None:
        from metagenrl.analysis.pictures.heat_map import (
            draw_heat_map,  # matplotlib: when it is needed
        )

        file = self._job.folder / "heat_map.png"
        return file if draw_heat_map(self._rows, file) else None
