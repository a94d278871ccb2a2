"""A meta-test or baseline at Weights & Biases, once it is over: a run of its own.

It names the snapshot that it used as its input, so that W&B's lineage leads from the meta-training
run over the version of alpha to what that did. The process that talks to W&B is this module's
`main`; nothing of it runs while agents train.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from metagenrl.base.job_process import read_job
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.config.train import Wandb
from metagenrl.runs.config.yaml_file import load_mapping
from metagenrl.runs.metrics_file import iter_rows
from metagenrl.runs.names import CONFIG_FILE, COPY_FILE, EVALUATIONS_FILE, FACTS_FILE
from metagenrl.runs.rows import EvaluationRow
from metagenrl.tracking.keys import TEST_AXIS
from metagenrl.tracking.process import CLOSE_SECONDS, SAYS, TrackerProcess
from metagenrl.tracking.values import Values, label, return_statistics
from metagenrl.tracking.wandb.account import wandb_id
from metagenrl.tracking.wandb.run import RunSpec, open_run, sync_hint
from metagenrl.tracking.wandb.variables import switched_off

STATISTICS = ("iqm", "mean", "min", "max")
_DONE_FILE = "logged"

logger = logging.getLogger(__name__)


def track_evaluation(config: MetaTestConfig | BaselineConfig, say: Callable[[str], None]) -> None:
    """Show the finished folder of a test; waits for a bounded time, `say` tells of troubles."""
    if config.wandb == "disabled" or switched_off():
        return
    folder = config.run_dir / "wandb"
    job = json.dumps([str(config.run_dir.absolute()), config.wandb])
    process = TrackerProcess("wandb", __name__, job, folder / "tracker.log", say)
    process.release()
    process.wait(time.monotonic() + CLOSE_SECONDS)


def log_evaluation(run_dir: Path, mode: Wandb) -> None:
    """One run for the folder; the same results are not logged twice."""
    results = (run_dir / EVALUATIONS_FILE).read_bytes()
    facts = json.loads((run_dir / FACTS_FILE).read_bytes())
    config = load_mapping(run_dir / CONFIG_FILE)
    objective, done = run_dir / COPY_FILE, run_dir / "wandb" / _DONE_FILE
    # Never another one's: steps that W&B has seen cannot be logged again.
    identity = hashlib.sha256(str(run_dir).encode() + results).hexdigest()
    if done.exists() and done.read_text() == identity:
        return
    learned = ObjectiveSnapshot.load(objective) if objective.exists() else None
    spec = RunSpec(
        id=f"test-{identity[:20]}",
        name=f"{facts['label']} in {', '.join(_environments(config))}",
        kind="test" if "objective" in config else "baseline",
        group=None if learned is None else wandb_id(learned.run),
        folder=run_dir,
        config=config | {"tested": facts},
    )
    run = open_run(mode, spec)
    run.axis("test/*", TEST_AXIS)
    if learned is not None:
        run.used(objective)
    for step, values in evaluation_values(iter_rows(run_dir / EVALUATIONS_FILE, "evaluation")):
        run.log(values, step)
    run.finish()
    done.write_text(identity)
    if run.mode == "offline":
        logger.warning("%s", sync_hint(run_dir / "wandb"))


def evaluation_values(rows: Iterable[object]) -> Iterator[tuple[int, Values]]:
    """Each evaluation's step with the agents' returns by environment, steps ascending."""
    returns: dict[int, dict[str, list[float]]] = {}
    for row in rows:
        if isinstance(row, EvaluationRow) and row.return_mean is not None:
            of_step = returns.setdefault(row.steps, {})
            of_step.setdefault(row.env, []).append(row.return_mean)
    for step, by_env in sorted(returns.items()):
        values: Values = {TEST_AXIS: float(step)}
        for env, of_env in by_env.items():
            found = return_statistics(of_env)
            values |= {f"test/{label(env)}/return_{name}": found[name] for name in STATISTICS}
        yield step, values


def _environments(config: dict[str, object]) -> list[str]:
    envs = config.get("envs") or [config["env"]]
    return [str(env) for env in envs]  # type: ignore[attr-defined]


def main() -> None:
    """Carry out the job on standard input."""
    logging.basicConfig(level=logging.WARNING, format=f"{SAYS}%(message)s", stream=sys.stdout)
    folder, mode = json.loads(read_job())
    log_evaluation(Path(folder), mode)


if __name__ == "__main__":
    main()
