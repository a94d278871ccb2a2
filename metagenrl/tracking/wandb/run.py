"""A run at Weights & Biases: the only file that imports wandb, and only in a process of its own.

A failure is said once and swallowed: what the run's own files have can be uploaded later.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metagenrl.objective_server.snapshots.find import snapshot_path
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.tracking.wandb.account import has_api_key, wandb_id

PROJECT = "metagenrl"
OBJECTIVE, BEST = "objective", "objective-best"
"""Collections of a run's artifacts: W&B calls one version of each the latest one."""
INIT_TIMEOUT = 20.0
"""Seconds after which a server that does not answer makes an offline run."""
FINISH_TIMEOUT = 60.0
"""Seconds that a run's end waits for the last uploads; what is missing can be synced later."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSpec:
    """The facts of a run that W&B gets when it begins; a run of this id goes on."""

    id: str
    name: str
    kind: str
    """Its job type: population, agent, held-out or test."""
    group: str | None
    folder: Path
    """Its files lie in `folder/wandb`."""
    config: Mapping[str, Any] = field(default_factory=dict)


class WandbRun:
    """One run; `mode` is the one that it got, `disabled` where there is none."""

    def __init__(self, mode: str, run: Any, trouble: list[str]) -> None:
        self.mode, self._run, self._trouble = mode, run, trouble

    def sibling(self, spec: RunSpec) -> WandbRun:
        """One more run of this process, in the same mode."""
        return WandbRun(self.mode, self._attempt(lambda: _init(self.mode, spec)), self._trouble)

    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Show values; `step` only ever rises."""
        self._attempt(lambda: self._run.log(dict(values), step=step))

    def axis(self, keys: str, axis: str) -> None:
        """Draw `keys`, a name or a pattern, over the key `axis`."""
        self._attempt(lambda: self._run.define_metric(keys, step_metric=axis))

    def hide(self, key: str) -> None:
        """Make no plot of `key` by itself."""
        self._attempt(lambda: self._run.define_metric(key, hidden=True))

    def picture(self, key: str, draw: Callable[[], Path | None]) -> None:
        """Show the file that `draw` makes; None: there is nothing to show."""
        self._attempt(lambda: self._show(key, draw()))

    def _show(self, key: str, file: Path | None) -> None:
        import wandb

        if file is not None:
            self._run.log({key: wandb.Image(str(file))})

    def made(self, name: str, file: Path) -> None:
        """Keep a snapshot of the objective as an artifact that this run made."""
        self._attempt(lambda: self._make(name, file))

    def used(self, file: Path) -> None:
        """Declare a snapshot of an objective an input of this run.

        W&B knows an artifact by its content: it is the one that the meta-training run made.
        """
        self._attempt(lambda: self._use(file))

    def _make(self, name: str, file: Path) -> None:
        artifact, aliases = _artifact(name, file)
        self._run.log_artifact(artifact, aliases=aliases)

    def _use(self, file: Path) -> None:
        # What Run.use_artifact sends, which refuses to in offline mode, waits for the server
        # otherwise, and would call a version the latest one because it was used last.
        artifact, aliases = _artifact(OBJECTIVE, file)
        artifact.finalize()
        self._run._interface.publish_artifact(
            self._run, artifact, aliases, is_user_created=True, use_after_commit=True
        )

    def finish(self) -> None:
        """Write or upload what is left."""
        self._attempt(lambda: self._run.finish())
        self._run = None

    def _attempt(self, action: Callable[[], Any]) -> Any:
        if self._run is None:
            return None
        try:
            return action()
        except Exception as error:
            if not self._trouble:
                logger.warning("wandb: %s; training goes on without it", _one_line(error))
            self._trouble.append(_one_line(error))
            return None


def open_run(mode: str, spec: RunSpec) -> WandbRun:
    """Begin or go on with a run.

    `online` without an API key, or with a server that does not answer, becomes `offline`.
    """
    if mode == "online" and not has_api_key():
        logger.warning("wandb: no API key, logging offline instead")
        mode = "offline"
    run = _start(mode, spec)
    if run is None and mode == "online":
        mode = "offline"
        run = _start(mode, spec)
    return WandbRun("disabled" if run is None else mode, run, [])


def sync_hint(folder: Path) -> str:
    """How to upload the offline runs that lie in `folder`."""
    # A resumed run has a folder for each time it was started; they are one run at W&B.
    pattern = f"{shlex.quote(str(folder))}/offline-run-*"
    return f"to upload the run to Weights & Biases: wandb sync {pattern}"


def _start(mode: str, spec: RunSpec) -> Any:
    try:
        return _init(mode, spec)
    except Exception as error:
        logger.warning("wandb: could not start %s: %s", mode, _one_line(error))
        _abandon()
        return None


def _init(mode: str, spec: RunSpec) -> Any:
    import wandb

    settings = wandb.Settings(
        console="off", disable_code=True, disable_git=True, disable_job_creation=True,
        finish_timeout=FINISH_TIMEOUT, init_timeout=INIT_TIMEOUT, silent=True,
        x_disable_machine_info=True, x_disable_meta=True, x_disable_stats=True,
    )  # fmt: skip
    return wandb.init(
        project=os.environ.get("WANDB_PROJECT") or PROJECT,
        id=spec.id,
        name=spec.name,
        group=spec.group,
        job_type=spec.kind,
        dir=str(spec.folder),
        mode=mode,  # type: ignore[arg-type]
        resume="allow",
        reinit="create_new",
        config=dict(spec.config),
        settings=settings,
    )


def _artifact(name: str, file: Path) -> tuple[Any, list[str]]:
    """The artifact of a snapshot, its history included, and its aliases."""
    import wandb

    snapshot = ObjectiveSnapshot.load(file)
    artifact = wandb.Artifact(
        f"{name}-{wandb_id(snapshot.run)}", type="objective", metadata=snapshot.describe()
    )
    entry = snapshot_path(Path(), snapshot.version).name  # the same wherever the file lies
    artifact.add_file(str(file), name=entry, policy="immutable")  # not copied: snapshots stay
    return artifact, [f"version-{snapshot.version}"]


def _abandon() -> None:
    """End wandb's helper process, which would keep the id of a run that failed to start."""
    with contextlib.suppress(Exception):
        import wandb

        wandb.teardown(exit_code=1)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
