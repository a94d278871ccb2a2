"""Made-up run folders: meta-training runs with rows, and tests of new agents."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metagenrl.analysis.report.assemble import make_report
from metagenrl.runs.config.lone_agents import BaselineConfig
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_yaml
from metagenrl.runs.metrics_file import MetricsWriter
from metagenrl.runs.names import EVALUATIONS_FILE, METRICS_FILE
from metagenrl.runs.rows import AgentRow, EvaluationRow, EventRow, MetricsRow, ObjectiveRow

ENVS = ("Pendulum-v1", "Hopper-v5")

AGENT = AgentRow(
    time=1.0, round=1, version=1, agent=0, env="", incarnation=0, steps=0, life=0, life_steps=0,
    state="learning", episodes=1, return_mean=None, return_last=None, episode_length=None, q=None,
    td_loss=None, objective_loss=None, policy_gradient_norm=None, gradient_norm=None,
    value_after=None, lag=0, restarts=0,
)  # fmt: skip
OBJECTIVE = ObjectiveRow(
    time=1.0, round=1, version=1, contributors=2, gradient_norm=0.5, update_norm=0.1,
    alpha_norm=18.0, cosine=0.25, cosine_by_env=dict.fromkeys(ENVS, 0.5), accepted=0, rejected=0,
    stale=0, duplicate=0, agent_steps=0, agent_steps_per_s=50.0,
)  # fmt: skip


def training_rows(agents: int, steps: int) -> list[MetricsRow]:
    """Ten intervals; returns rise from 0 to 9, plus the agent's number."""
    rows: list[MetricsRow] = []
    for interval in range(10):
        step = (interval + 1) * steps // 10
        moment = {"time": 10.0 * (interval + 1), "round": step // 2, "version": step // 2}
        total = agents * step
        rows.append(replace(OBJECTIVE, **moment, agent_steps=total, accepted=total // 2))
        rows += [
            replace(
                AGENT, **moment, agent=i, env=ENVS[i % 2], steps=step, life_steps=step,
                return_mean=float(interval + i),
            )
            for i in range(agents)
        ]  # fmt: skip
    return rows


def make_train_run(
    root: Path, name: str, agents: int = 4, events: Sequence[EventRow] = (), **fields: Any
) -> Path:
    """A meta-training run's folder; further fields go to its configuration."""
    folder = root / name
    folder.mkdir(parents=True)
    config = TrainConfig(envs=ENVS, agents=agents, steps=1_000, run_dir=folder, **fields)
    (folder / "config.yaml").write_text(to_yaml(config))
    identity = {"id": f"id-{name}", "created": 0.0, "machine": "m", "versions": {"torch": "2"}}
    (folder / "run.json").write_text(json.dumps(identity))
    MetricsWriter(folder / METRICS_FILE).write([*training_rows(agents, 1_000), *events])
    return folder


def make_test_run(
    root: Path,
    name: str,
    env: str,
    curves: Sequence[Mapping[int, float]],
    rule: str = "td3",
    steps: int = 100,
    **facts: Any,
) -> Path:
    """A test's folder: `curves[seed]` maps steps to returns."""
    folder = root / name
    folder.mkdir(parents=True)
    config = BaselineConfig(
        env=env, algo="td3", run_dir=folder, seeds=max(1, len(curves)), steps=steps
    )
    (folder / "config.yaml").write_text(to_yaml(config))
    label = {"random": "random objective", "learned": "learned objective"}.get(rule, rule)
    (folder / "objective.json").write_text(json.dumps({"label": label, "rule": rule, **facts}))
    rows = [
        EvaluationRow(label, env, seed, step, value, (value,))
        for seed, curve in enumerate(curves)
        for step, value in curve.items()
    ]
    MetricsWriter(folder / EVALUATIONS_FILE).write(rows)
    return folder


@pytest.fixture
def train_run(tmp_path: Path) -> Callable[..., Path]:
    """`make_train_run` in the test's own folder."""
    return functools.partial(make_train_run, tmp_path)


@pytest.fixture
def new_agents(tmp_path: Path) -> Callable[..., Path]:
    """`make_test_run` in the test's own folder."""
    return functools.partial(make_test_run, tmp_path)


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its report: two faults, tests in a seen and in an unseen environment."""
    root = tmp_path_factory.mktemp("reported")
    fault = EventRow(99.0, 500, "restarted", 1, "restarted (1/5) at step 500: <killed>")
    routine = EventRow(50.0, 250, "checkpoint", None, "round 250")
    run = make_train_run(root, "run", events=[routine, fault, fault])
    origin = {"run": "id-run", "version": 500, "environments": ENVS}
    for env, values in (("Hopper-v5", (9.0, 11.0, 13.0)), ("Ant-v5", (1.0, 2.0, 6.0))):
        curves = [{0: 0.0, 100: value} for value in values]
        make_test_run(root, f"run/tests/{env}/learned", env, curves, "learned", **origin)
        make_test_run(root, f"run/tests/{env}/random", env, [{0: 0.0, 100: 2.0}] * 2, "random")
    make_report([run], run / "report")
    return run
