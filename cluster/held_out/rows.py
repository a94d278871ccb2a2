"""What held-out tests leave in a run's rows, each of them once however often the run is resumed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from metagenrl.cluster.held_out.score import Standing, metric
from metagenrl.cluster.held_out.trials import Candidate
from metagenrl.objective_server.store.in_folder import FileStore
from metagenrl.runs.config.held_out import HeldOutOptions
from metagenrl.runs.metrics_file import rows_of_kind
from metagenrl.runs.names import METRICS_FILE
from metagenrl.runs.rows import EvaluationRow, EventRow, MetricsRow, Moment
from metagenrl.runs.run_records import HeldOutRow, ScoreRow

logger = logging.getLogger(__name__)


class HeldOutRows:
    """Writes results to the run's metrics and notes which version is best."""

    def __init__(
        self,
        run_dir: Path,
        options: HeldOutOptions,
        record: Callable[[MetricsRow], None],
        moment: Callable[[], Moment],
    ) -> None:
        self._run_dir, self._metric = run_dir, metric(options)
        self._record, self._moment = record, moment
        self._trials: set[tuple[int, str, int]] = set()  # version, environment, seed
        self._scored: set[int] = set()

    def read(self) -> None:
        """Read the results that the run's metrics have already, after a resume cut them back."""
        file = self._run_dir / METRICS_FILE
        for row in (*rows_of_kind(file, HeldOutRow.kind), *rows_of_kind(file, ScoreRow.kind)):
            if isinstance(row, HeldOutRow):
                self._trials.add((row.version, row.env, row.seed))
            elif isinstance(row, ScoreRow):
                self._scored.add(row.version)

    def event(self, what: str, message: str) -> None:
        """Something happened to a test."""
        now = self._moment()
        self._record(EventRow(now.time, now.round, what, None, message))

    def trial(self, candidate: Candidate, row: EvaluationRow) -> None:
        """The result of one new agent."""
        identity = (candidate.version, row.env, row.seed)
        if identity in self._trials:
            return
        self._trials.add(identity)
        now = self._moment()
        self._record(
            HeldOutRow(
                now.time, now.round, candidate.version, candidate.agent_steps, row.env, row.seed,
                row.steps, row.return_mean, row.returns,
            )
        )  # fmt: skip

    def score(
        self, candidate: Candidate, by_env: Mapping[str, float | None], state: Standing
    ) -> None:
        """A version of which all tests are in, and how it stands among the others."""
        if candidate.version in self._scored:
            return
        self._scored.add(candidate.version)
        now, score = self._moment(), state.scores[candidate.version]
        known = {env: value for env, value in by_env.items() if value is not None}
        self._record(
            ScoreRow(
                now.time, now.round, candidate.version, candidate.agent_steps, score, known,
                state.best, state.best_score, self._metric,
            )
        )  # fmt: skip
        shown = ", ".join(f"{env} {value:.1f}" for env, value in known.items()) or "failed"
        logger.info("held-out, version %d: %s; best is %s", candidate.version, shown, state.best)

    def mark_best(self, state: Standing) -> None:
        """Note the best version for `--version best`; a full disk is only logged."""
        best, score = state.best, state.best_score
        if best is None or score is None:
            return
        try:
            FileStore(self._run_dir).mark_best(best, score, self._metric)
        except (OSError, ValueError) as error:
            logger.warning("best version %d was not noted: %s", best, error)
