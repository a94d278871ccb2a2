"""Our td3, sac and ppo side by side with Stable-Baselines3's: same sizes, batches, steps and seeds.

    python experiments/baselines.py OUT              # results/baselines.md, .csv and .png
    python experiments/baselines.py OUT --scale 0.1  # a tenth of the steps, to see that it works
    python experiments/baselines.py OUT --algos sac --name baselines_sac   # one alone

`OUT` keeps the run folders, so an interrupted comparison goes on where it stood.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metagenrl.analysis.confidence import Estimate, mean_interval
from metagenrl.analysis.learning_curves import read_curves
from metagenrl.analysis.pictures.meta_training import draw_meta_test
from metagenrl.runs.agent_files import merge_evaluations
from metagenrl.studies.facts import machine
from metagenrl.studies.job import Job
from metagenrl.studies.queue import run_here

ROOT = Path(__file__).resolve().parent.parent
SB3 = (sys.executable, str(ROOT / "experiments" / "sb3_baseline.py"))
ROLLOUT = 1_024
ALGOS = ("td3", "sac", "ppo")
_HEADER = ("environment", "algorithm", "steps", "ours", "Stable-Baselines3", "seeds", "verdict")


@dataclass(frozen=True)
class Problem:
    """One environment, and what both sides are given there."""

    env: str
    steps: int
    gamma: float
    learning_rate: float  # PPO's at its start
    units: int


PROBLEMS = (
    Problem("HalfCheetah-v5", 30 * ROLLOUT, 0.99, 3e-4, 256),
    Problem("Pendulum-v1", 20 * ROLLOUT, 0.9, 1e-3, 64),
)


def jobs_of(
    problem: Problem, algos: Sequence[str], seeds: int, scale: float, workers: int, out: Path
) -> list[Job]:
    """Each algorithm by both sides; `workers` seeds of each at the same time."""
    rollouts = max(1, round(problem.steps * scale / ROLLOUT))
    shared = (
        "--env", problem.env, "--seeds", str(seeds), "--steps", str(rollouts * ROLLOUT),
        "--eval-every", str(max(1, rollouts // 10) * ROLLOUT), "--eval-episodes", "10",
        "--hidden-units", str(problem.units), "--gamma", str(problem.gamma),
        "--rollout-steps", str(ROLLOUT), "--workers", str(workers),
    )  # fmt: skip
    ours = (
        *shared, "--preset", "small", "--action-penalty", "0",
        "--random-steps", "1000", "--learning-starts", "1000",
        "--ppo.learning-rate", str(problem.learning_rate),
    )  # fmt: skip
    theirs = (*shared, "--learning-rate", str(problem.learning_rate), "--batch", "256")
    folder = out / problem.env
    single = {a: () if a == "ppo" else ("--transitions", "256") for a in algos}
    return [
        *(Job(folder / a, ("baseline", "--algo", a, *s, *ours)) for a, s in single.items()),
        *(Job(folder / f"sb3-{a}", (a, *theirs), program=SB3) for a in single),
    ]


def verdict(ours: Estimate, theirs: Estimate) -> str:
    """Whether the 95 % intervals overlap and, if not, who is better."""
    if abs(ours.mean - theirs.mean) <= ours.half_width + theirs.half_width:
        return "intervals overlap"
    return "ours is better" if ours.mean > theirs.mean else "ours is worse"


def rows_of(problem: Problem, algos: Sequence[str], out: Path) -> list[tuple[str, ...]]:
    """A row for each algorithm, at the last step at which all agents of both were evaluated."""
    rows = []
    for algo in algos:
        curves = [read_curves([out / problem.env / name])[0] for name in (algo, f"sb3-{algo}")]
        reached = [c.steps[np.isfinite(c.returns).all(axis=0)] for c in curves]
        last = np.intersect1d(*reached)[-1]
        returns = [c.returns[:, c.steps == last][:, 0] for c in curves]
        ours, theirs = map(mean_interval, returns)
        seeds = " and ".join(str(len(values)) for values in returns)
        cells = (_text(ours), _text(theirs), seeds, verdict(ours, theirs))
        rows.append((problem.env, algo, f"{last:,.0f}", *cells))
    return rows


def collect(jobs: list[Job]) -> None:
    """The evaluations of runs that are not finished, as far as they have come."""
    for job in jobs:
        if not job.done:
            merge_evaluations(job.folder, sorted((job.folder / "seeds").glob("*.jsonl")))


def _text(estimate: Estimate) -> str:
    low, high = estimate.mean - estimate.half_width, estimate.mean + estimate.half_width
    return f"{estimate.mean:,.0f} ({low:,.0f} … {high:,.0f})"


def write_report(jobs: list[Job], o: argparse.Namespace, command: str) -> None:
    """Write the table, as Markdown and CSV, and the picture."""
    results, name = o.results, o.name
    results.mkdir(parents=True, exist_ok=True)
    rows = [row for problem in o.problems for row in rows_of(problem, o.algos, o.out)]
    with open(results / f"{name}.csv", "w", newline="") as file:
        csv.writer(file).writerows([_HEADER, *rows])
    draw_meta_test([job.folder for job in jobs], results / f"{name}.png")
    lines = ["| " + " | ".join(row) + " |" for row in (_HEADER, ["---"] * len(_HEADER), *rows)]
    text = [
        f"# {', '.join(o.algos)} beside Stable-Baselines3",
        "",
        f"- command: `{command}`",
        f"- machine: {machine('stable-baselines3', 'ray')}",
        "- return: mean of 10 deterministic episodes at the last step that all agents "
        "of both reached; 95 % interval by Student's t over seeds",
        "- equal: units and layers, minibatches (256 single transitions; 64 steps of rollouts of "
        f"{ROLLOUT:,}), step sizes and their schedules, gamma, exploration, actions in [-1, 1], "
        "normalised observations and rewards (ppo)",
        "- different: td3 and sac of ours have layer norm in their networks; td3 clips its "
        "policy's gradient "
        "to 1, as the paper's section 4 and Table 3 say; ppo of ours (RLlib) starts with larger "
        "actions, where Stable-Baselines3 makes the policy's last layer a hundredth of its usual "
        "size",
        "",
        *lines,
        "",
        f"![Learning curves]({name}.png)",
        "",
        "The commands:",
        "",
        "```",
        *(_command(job) for job in jobs),
        "```",
        "",
    ]
    (results / f"{name}.md").write_text("\n".join(text))
    print("\n".join(text))


def _command(job: Job) -> str:
    program = "python experiments/sb3_baseline.py" if job.program == SB3 else "metagenrl"
    return f"{program} {shlex.join(job.words)} --run-dir OUT/{'/'.join(job.folder.parts[-2:])}"


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--algos", nargs="+", default=ALGOS, choices=ALGOS)
    environments = [problem.env for problem in PROBLEMS]
    parser.add_argument("--envs", nargs="+", default=environments, choices=environments)
    parser.add_argument("--name", default="baselines", help="of the files in --results")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the steps")
    parser.add_argument("--parallel", type=int, default=2, help="commands at the same time")
    parser.add_argument("--workers", type=int, default=1, help="seeds of each at the same time")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--report-only", action="store_true", help="of what there is so far")
    o = parser.parse_args()
    o.problems = [problem for problem in PROBLEMS if problem.env in o.envs]
    given = o.algos, o.seeds, o.scale, o.workers, o.out
    jobs = [job for problem in o.problems for job in jobs_of(problem, *given)]
    if not o.report_only and run_here(jobs, o.parallel):
        raise SystemExit(1)
    collect(jobs)
    command = f"python experiments/baselines.py OUT --seeds {o.seeds} --scale {o.scale:g}"
    command += f" --algos {' '.join(o.algos)} --envs {' '.join(o.envs)} --name {o.name}"
    write_report(jobs, o, command)


if __name__ == "__main__":
    main()
