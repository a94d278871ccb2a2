"""Weights & Biases: the only file that imports wandb, and only in the follower's process.

One run for the whole population, and if wanted one more for each agent, in one group. A failure
is said once and swallowed: what the run's own files have can be uploaded later.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metagenrl.cluster.follower_job import FollowerJob
from metagenrl.cluster.records import AgentRow, MetricsRow
from metagenrl.cluster.run_records import ScoreRow, SnapshotRow
from metagenrl.cluster.tracked_keys import AXIS, HELD_OUT_AXIS
from metagenrl.cluster.tracked_values import Values, by_agent
from metagenrl.cluster.wandb_account import has_api_key, wandb_id
from metagenrl.objective_server.find import snapshot_path

PROJECT = "metagenrl"
INIT_TIMEOUT = 20.0
"""Seconds after which a server that does not answer makes an offline run."""
FINISH_TIMEOUT = 60.0
"""Seconds that a run's end waits for the last uploads; what is missing can be synced later."""
PICTURE_SECONDS = 300.0
"""Seconds between two heat maps of the population: one takes most of a second to draw."""

logger = logging.getLogger(__name__)


class WandbLog:
    """A run's `Sink`. Its files lie in `run_dir/wandb`; resuming goes on with the same W&B run.

    `online` without an API key, or with a server that does not answer, becomes `offline`.
    """

    def __init__(self, job: FollowerJob) -> None:
        self.mode = job.mode
        self._job = job
        self._agent_runs: dict[str, Any] = {}
        self._envs: dict[str, str] = {}  # of each agent, as in its keys
        self._rows: list[AgentRow] = []
        self._best: int | None = None
        self._picture_due = time.monotonic() + PICTURE_SECONDS
        self._broken = False
        if self.mode == "online" and not has_api_key():
            logger.warning("wandb: no API key, logging offline instead")
            self.mode = "offline"
        self._run = self._start()
        if self._run is None and self.mode == "online":
            self.mode = "offline"
            self._run = self._start()
        if self._run is None:
            self.mode = "disabled"

    def log(self, values: Values, step: int) -> None:
        """See `Sink`."""
        self._attempt(lambda: self._run.log(dict(values), step=step))
        if self._job.per_agent:
            self._attempt(lambda: self._log_agents(values, step))

    def remember(self, rows: list[MetricsRow]) -> None:
        """See `Sink`: the agents' rows make the heat map."""
        for row in rows:
            if isinstance(row, AgentRow):
                self._rows.append(row)
                self._envs[f"{row.agent:02d}"] = row.env
        if time.monotonic() >= self._picture_due:
            self._picture()

    def snapshot(self, row: SnapshotRow) -> None:
        """See `Sink`: an artifact, which W&B shows as made by this run."""
        self._attempt(lambda: self._log_artifact("objective", row.version))

    def score(self, row: ScoreRow) -> None:
        """See `Sink`: a new best version goes into a collection of its own.

        W&B would call it the latest one among all versions.
        """
        best = row.best_version
        if best is not None and best != self._best:
            self._best = best
            self._attempt(lambda: self._log_artifact("objective-best", best))

    def finish(self) -> None:
        """See `Sink`; says how to upload an offline run."""
        self._picture()
        for run in (*self._agent_runs.values(), self._run):
            self._attempt(run.finish if run is not None else lambda: None)
        if self.mode == "offline":
            # A resumed run has a folder for each time it was started; they are one run at W&B.
            pattern = f"{shlex.quote(str(self._job.folder))}/offline-run-*"
            logger.warning("to upload the run to Weights & Biases: wandb sync %s", pattern)
        self._run = None

    def _attempt(self, action: Callable[[], object]) -> None:
        if self._run is None:
            return
        try:
            action()
        except Exception as error:
            if not self._broken:
                logger.warning("wandb: %s; training goes on without it", _one_line(error))
            self._broken = True

    def _start(self) -> Any:
        try:
            return _init(self.mode, self._job)
        except Exception as error:
            logger.warning("wandb: could not start %s: %s", self.mode, _one_line(error))
            _abandon()
            return None

    def _log_agents(self, values: Values, step: int) -> None:
        for agent, of_agent in by_agent(values).items():
            if agent not in self._agent_runs:
                self._agent_runs[agent] = _init(self.mode, self._job, agent, self._envs[agent])
            self._agent_runs[agent].log(of_agent, step=step)

    def _log_artifact(self, name: str, version: int) -> None:
        import wandb

        file = snapshot_path(Path(self._job.run_dir), version)
        artifact = wandb.Artifact(
            f"{name}-{wandb_id(self._job.run)}",
            type="objective",
            metadata=json.loads(file.with_suffix(".json").read_bytes()),  # history included
        )
        artifact.add_file(str(file), policy="immutable")  # no copy: snapshots stay
        self._run.log_artifact(artifact, aliases=[f"version-{version}"])

    def _picture(self) -> None:
        self._picture_due = time.monotonic() + PICTURE_SECONDS
        self._attempt(self._log_picture)

    def _log_picture(self) -> None:
        import wandb
        from metagenrl.cluster.heat_map import draw_heat_map

        path = self._job.folder / "heat_map.png"
        if draw_heat_map(self._rows, path):
            self._run.log({"population/heat_map": wandb.Image(str(path))})


def _init(mode: str, job: FollowerJob, agent: str = "", env: str = "") -> Any:
    """The population's run or, with `agent`, one of its members'."""
    import wandb

    settings = wandb.Settings(
        console="off", disable_code=True, disable_git=True, disable_job_creation=True,
        finish_timeout=FINISH_TIMEOUT, init_timeout=INIT_TIMEOUT, silent=True,
        x_disable_machine_info=True, x_disable_meta=True, x_disable_stats=True,
    )  # fmt: skip
    run_id, name = wandb_id(job.run), Path(job.run_dir).name
    run = wandb.init(
        project=PROJECT,
        id=f"{run_id}-{agent}" if agent else run_id,
        name=f"{name} {agent} {env}" if agent else name,
        group=run_id if job.per_agent else None,
        job_type="agent" if agent else "population",
        dir=job.run_dir,
        mode=mode,  # type: ignore[arg-type]
        resume="allow",
        reinit="create_new",
        config=job.config | ({"agent_index": int(agent), "env": env} if agent else {}),
        settings=settings,
    )
    _define_axes(run, job.agents, agent)
    return run


def _define_axes(run: Any, agents: int, agent: str) -> None:
    if agent:
        run.define_metric("*", step_metric="steps")
        return
    run.define_metric(AXIS, hidden=True)
    for prefix in ("population", "meta", "objective", "server", "system"):
        run.define_metric(f"{prefix}/*", step_metric=AXIS)
    run.define_metric("heldout/*", step_metric=HELD_OUT_AXIS)
    for index in range(agents):
        run.define_metric(f"agent/{index:02d}/*", step_metric=f"agent/{index:02d}/steps")


def _abandon() -> None:
    """End wandb's helper process, which would keep the id of a run that failed to start."""
    with contextlib.suppress(Exception):
        import wandb

        wandb.teardown(exit_code=1)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
