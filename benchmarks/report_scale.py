"""How long and how much memory `metagenrl report` takes for a run of the paper's size.

    python -m benchmarks.report_scale OUT [--agents 40] [--steps 1000000]

Writes `OUT/run`, a made-up run folder with the rows that so many agents leave, and its meta-tests;
then runs the command on it in a process of its own, and prints seconds and peak memory. The rows'
values mean nothing.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from metagenrl.runs.config.lone_agents import BaselineConfig
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_yaml
from metagenrl.runs.names import CONFIG_FILE, EVALUATIONS_FILE, METRICS_FILE
from metagenrl.runs.row_codec import to_line
from metagenrl.runs.rows import AgentRow, EvaluationRow, EventRow, ObjectiveRow

ENVS = ("HalfCheetah-v5", "LunarLanderContinuous-v3")
LIFE = 250_000  # steps
SEEDS = 5

_AGENT = AgentRow(
    time=0.0, round=0, version=0, agent=0, env="", incarnation=0, steps=0, life=0, life_steps=0,
    state="learning", episodes=3, return_mean=0.0, return_last=0.0, episode_length=312.25,
    gradient_norm=78.1234567, lag=0, restarts=0, q=12.3456789, td_loss=0.123456789,
    objective_loss=-0.0123456789, policy_gradient_norm=0.5123456789, value_after=13.123456789,
)  # fmt: skip
_VERSION = ObjectiveRow(
    time=0.0, round=0, version=0, contributors=0, gradient_norm=0.328147507, update_norm=0.12421653,
    alpha_norm=22.3634147, cosine=-0.0197935591, cosine_by_env=dict.fromkeys(ENVS, 0.0286593),
    accepted=0, rejected=0, stale=0, duplicate=0, agent_steps=0, agent_steps_per_s=123.4567891,
)  # fmt: skip


def synthesize(run_dir: Path, agents: int, steps: int, log_every: int = 1_000) -> int:
    """Write a run's folder with its tests; the bytes of its metrics."""
    config = TrainConfig(envs=ENVS, agents=agents, steps=steps, run_dir=run_dir)
    run_dir.mkdir(parents=True)
    (run_dir / CONFIG_FILE).write_text(to_yaml(config))
    with open(run_dir / METRICS_FILE, "w", encoding="utf-8") as file:
        file.writelines(_rows(agents, steps, log_every))
    for env in ENVS:
        for algo in ("td3", "reinforce-off"):
            _tests(run_dir / "tests" / env / algo, env, algo, steps)
    return (run_dir / METRICS_FILE).stat().st_size


def _rows(agents: int, steps: int, log_every: int) -> Iterator[str]:
    for number in range(1, steps // 2 + 1):  # a version every second step
        step = 2 * number
        moment = {"time": 0.25 * number, "round": number, "version": number}
        wave = math.sin(number / 500)
        yield to_line(
            replace(
                _VERSION, **moment, contributors=agents, cosine=0.1 * wave,
                accepted=agents * number, agent_steps=agents * step,
            )
        )  # fmt: skip
        if step % log_every == 0:
            for agent in range(agents):
                life, age = divmod(step + agent * LIFE // agents, LIFE)
                row = replace(
                    _AGENT, **moment, agent=agent, env=ENVS[agent % 2], steps=step, life=life,
                    life_steps=age + 1, return_mean=age / 100 + agent + 10 * wave,
                )  # fmt: skip
                yield to_line(row)
        if step % 10_000 == 0:
            yield to_line(EventRow(0.25 * number, number, "checkpoint", None, f"round {number}"))


def _tests(folder: Path, env: str, algo: str, steps: int) -> None:
    folder.mkdir(parents=True)
    config = BaselineConfig(env=env, algo=algo, run_dir=folder, seeds=SEEDS, steps=steps)  # type: ignore[arg-type]
    (folder / CONFIG_FILE).write_text(to_yaml(config))
    with open(folder / EVALUATIONS_FILE, "w", encoding="utf-8") as file:
        for seed in range(SEEDS):
            for step in range(0, steps + 1, max(1, steps // 1_000)):
                value = 1_000.0 * seed + math.sqrt(step)
                file.write(to_line(EvaluationRow(algo, env, seed, step, value, (value,) * 5)))


def main() -> None:
    """Make the folder, make the report, say what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--agents", type=int, default=40)
    parser.add_argument("--steps", type=int, default=1_000_000)
    arguments = parser.parse_args()
    size = synthesize(arguments.out / "run", arguments.agents, arguments.steps)
    print(f"{arguments.agents} agents x {arguments.steps:,} steps: {size / 1e6:.0f} MB of metrics")
    begun = time.monotonic()
    command = [sys.executable, "-m", "metagenrl.commands.main", "report", arguments.out / "run"]
    subprocess.run(command, check=True)
    seconds = time.monotonic() - begun
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"report: {seconds:.1f} s, {peak:.0f} MiB at most")


if __name__ == "__main__":
    main()
