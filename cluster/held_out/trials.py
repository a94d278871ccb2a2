"""What a held-out evaluation consists of, and its files, which are the record of what is done.

`held_out/version-00000500-1f3a…/` holds a copy of alpha and, by environment and seed, the rows of
each new agent that it trained. The folder's name ends with a hash of alpha, so that a resumed
asynchronous run, whose version 500 is another one, does not take the former's results for its own.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metagenrl.agents.environment.spec import folder_name
from metagenrl.base.files.errors import CorruptFile
from metagenrl.learner.hyperparams import AgentConfig, ObjectiveConfig
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.agent_files import evaluations, is_finished
from metagenrl.runs.agent_job import ObjectiveChoice, TraineeJob
from metagenrl.runs.config.held_out import HeldOutOptions
from metagenrl.runs.names import COPY_FILE, HELD_OUT_FOLDER
from metagenrl.runs.rows import EvaluationRow

FIRST_SEED = 10_000
"""The agents that choose an objective must not be those that it is later reported with."""
NICENESS = 19
"""Of the tests' processes: they get what the population leaves over."""
CURVE_POINTS = 5
"""Evaluations along a test, the first one apart."""
_NAME = re.compile(r"version-([0-9]+)-[0-9a-f]{12}")


@dataclass(frozen=True)
class Candidate:
    """A version of alpha that is to be tested."""

    version: int
    agent_steps: int  # of the whole population, when alpha had that version
    folder: Path

    @property
    def alpha(self) -> Path:
        """The copy of alpha that its tests use."""
        return self.folder / COPY_FILE


def keep_candidate(run_dir: Path, snapshot: ObjectiveSnapshot) -> Candidate:
    """Note durably that `snapshot` is to be tested; what was tested of it already stays.

    Another alpha of the same version, of a past that a resumed run did not repeat, is removed.
    Raises `OSError` where the disk is full.
    """
    digest = hashlib.sha256(snapshot.alpha.tobytes()).hexdigest()[:12]
    folder = run_dir.absolute() / HELD_OUT_FOLDER / f"version-{snapshot.version:08d}-{digest}"
    for other in folder.parent.glob(f"version-{snapshot.version:08d}-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    candidate = Candidate(snapshot.version, snapshot.steps, folder)
    if not candidate.alpha.exists():
        folder.parent.mkdir(exist_ok=True)
        folder.mkdir(exist_ok=True)
        snapshot.save(candidate.alpha, durable=True)
    return candidate


def kept_candidates(run_dir: Path, last: int) -> list[Candidate]:
    """The candidates up to version `last`, ascending; one whose alpha is damaged is left out."""
    found = []
    folder = run_dir.absolute() / HELD_OUT_FOLDER
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match is None or int(match[1]) > last:
            continue
        try:
            snapshot = ObjectiveSnapshot.load(path / COPY_FILE)
        except CorruptFile:  # a kill between folder and file: training comes past it again
            continue
        found.append(Candidate(snapshot.version, snapshot.steps, path))
    return sorted(found, key=lambda candidate: candidate.version)


def trials(
    options: HeldOutOptions,
    agent: AgentConfig,
    objective: ObjectiveConfig,
    start_timeout: float,
    candidate: Candidate,
) -> list[TraineeJob]:
    """The new agents that `candidate` has to train: Algorithm 2, agents as in the population."""
    return [
        TraineeJob(
            env=env,
            seed=FIRST_SEED + index,
            label=f"learned objective v{candidate.version}",
            steps=options.eval_steps,
            eval_every=-(-options.eval_steps // CURVE_POINTS),
            eval_episodes=options.eval_episodes,
            eval_max_steps=options.eval_max_steps,
            folder=str(candidate.folder / folder_name(env)),
            agent=agent,
            objective=ObjectiveChoice("learned", str(candidate.alpha), objective),
            niceness=NICENESS,
            timeout=options.eval_timeout,
            start_timeout=start_timeout,
        )
        for env in options.eval_envs
        for index in range(options.eval_seeds)
    ]


def result(job: TraineeJob) -> EvaluationRow | None:
    """A trial's last evaluation, None while it is not finished."""
    return evaluations(job.rows)[-1] if is_finished(job.rows, job.steps) else None


def mean_return(rows: Sequence[EvaluationRow]) -> float | None:
    """Mean over the agents of one environment; None where one of them diverged."""
    values = [row.return_mean for row in rows if row.return_mean is not None]
    return sum(values) / len(values) if values and len(values) == len(rows) else None
