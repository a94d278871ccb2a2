"""Weights & Biases: the only file that imports wandb, and not before a run wants it.

One run for the whole population, written by the driver. Training never waits for it and never
stops because of it: the first exception is logged, the rest are swallowed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import netrc
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from metagenrl.cluster.records import AgentRow, MetricsRow, ObjectiveRow
from metagenrl.cluster.wandb_values import agent_values, objective_values, population_values

Mode = Literal["online", "offline", "disabled"]

PROJECT = "metagenrl"
INIT_TIMEOUT = 20.0
"""Seconds that an unreachable server may delay a run's start."""
FINISH_TIMEOUT = 60.0
"""Seconds that a run's end waits for the last uploads; what is missing can be synced later."""
OBJECTIVE_EVERY = 10
"""Versions between the logged ones; `metrics.jsonl` has them all."""

_DEFAULT_SERVER = "https://api.wandb.ai"

logger = logging.getLogger(__name__)


class WandbLog:
    """One run at W&B. Its files lie in `run_dir/wandb`; resuming goes on with the same run.

    `online` without an API key, or with a server that does not answer, becomes `offline`;
    `disabled` does nothing at all. Environment steps of an agent are the x axis of every plot.
    """

    def __init__(
        self, mode: Mode, run_dir: Path, run_id: str, agents: int, config: Mapping[str, Any]
    ) -> None:
        self.mode = mode
        self._run: Any = None
        self._agents = agents
        self._latest: dict[int, AgentRow] = {}
        self._broken = False
        if mode == "online" and not has_api_key():
            logger.warning("wandb: no API key, logging offline instead")
            self.mode = "offline"
        if self.mode == "online":
            self._run = self._start(run_dir, run_id, config)
            if self._run is None:
                self.mode = "offline"
        if self.mode == "offline":
            self._run = self._start(run_dir, run_id, config)
        if self._run is None:
            self.mode = "disabled"

    def log(self, rows: Sequence[MetricsRow]) -> None:
        """Log a batch of rows, which is one row at W&B."""
        if self._run is None:
            return
        try:
            values, step = self._values(rows)
            if values:
                self._run.log(values, step=step)
        except Exception as error:
            self._failed(error)

    def finish(self) -> str | None:
        """Close the run. Returns, and prints, the command that uploads an offline one."""
        if self._run is None:
            return None
        try:
            folder = Path(self._run.settings.sync_dir)
            self._run.finish()
        except Exception as error:
            self._failed(error)
            return None
        finally:
            self._run = None
        if self.mode != "offline":
            return None
        # A resumed run has a folder for each time it was started; they are one run at W&B.
        pattern = f"{shlex.quote(str(folder.parent))}/offline-run-*"
        command = f"wandb sync {pattern}"
        print(f"to upload the run to Weights & Biases: {command}")
        return command

    def _start(self, run_dir: Path, run_id: str, config: Mapping[str, Any]) -> Any:
        try:
            return _init(self.mode, run_dir, run_id, config, self._agents)
        except Exception as error:
            logger.warning("wandb: could not start %s: %s", self.mode, _one_line(error))
            _abandon()
            return None

    def _failed(self, error: Exception) -> None:
        if not self._broken:
            logger.warning("wandb: %s; training goes on without it", _one_line(error))
        self._broken = True

    def _values(self, rows: Sequence[MetricsRow]) -> tuple[dict[str, float], int]:
        """Keys and values of a batch, and the last round in it."""
        values: dict[str, float | None] = {}
        for row in rows:
            if isinstance(row, AgentRow):
                self._latest[row.agent] = row
                values |= agent_values(row)
            elif isinstance(row, ObjectiveRow) and row.version % OBJECTIVE_EVERY == 0:
                values |= objective_values(row, self._agents)
        if any(isinstance(row, AgentRow) for row in rows):
            values |= population_values(self._latest)
        last = max((row.round for row in rows), default=0)
        return {name: value for name, value in values.items() if value is not None}, last


def wandb_id(run_id: str) -> str:
    """The id of our run at W&B: the same for the same run, different for another one."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", run_id)[:40]
    return f"{readable}-{hashlib.sha256(run_id.encode()).hexdigest()[:10]}"


def has_api_key() -> bool:
    """Whether W&B would find credentials without asking for them, which could wait for ever."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", _DEFAULT_SERVER)).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _init(mode: Mode, run_dir: Path, run_id: str, config: Mapping[str, Any], agents: int) -> Any:
    import wandb

    settings = wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        finish_timeout=FINISH_TIMEOUT,
        init_timeout=INIT_TIMEOUT,
        silent=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
    )
    run = wandb.init(
        project=PROJECT,
        id=wandb_id(run_id),
        name=run_dir.name,
        dir=str(run_dir),
        mode=mode,
        resume="allow",
        config=dict(config),
        settings=settings,
    )
    run.define_metric("steps", hidden=True)
    for prefix in ("population", "meta", "objective", "system"):
        run.define_metric(f"{prefix}/*", step_metric="steps")
    for agent in range(agents):
        run.define_metric(f"agent/{agent:02d}/*", step_metric=f"agent/{agent:02d}/steps")
    return run


def _abandon() -> None:
    """End wandb's helper process, which would keep the id of a run that failed to start."""
    with contextlib.suppress(Exception):
        import wandb

        wandb.teardown(exit_code=1)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
