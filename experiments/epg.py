"""Does the meta-objective of Evolved Policy Gradients rise? InvertedPendulum-v5, three seeds.

    python experiments/epg.py OUT    # results/epg.md; OUT keeps the run folders

An interrupted study goes on where it stood.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import numpy as np

from metagenrl.analysis.confidence import mean_interval
from metagenrl.runs.metrics_file import read_metrics
from metagenrl.studies.facts import machine
from metagenrl.studies.job import Job
from metagenrl.studies.queue import run_here

ROOT = Path(__file__).resolve().parent.parent
SEEDS = 3
SPAN = 20  # generations at each end whose means are compared
WORDS = (
    *("baseline", "--algo", "epg", "--phase", "train", "--envs", "InvertedPendulum-v5"),
    *("--seeds", str(SEEDS), "--engine", "inprocess", "--generations", "100"),
    *("--noise-vectors", "16", "--sigma", "0.1", "--learning-rate", "0.05", "--ppo-share", "0"),
    *("--updates", "8", "--update-every", "32", "--buffer-size", "64", "--policy-units", "16"),
    *("--memory-units", "8", "--inner-learning-rate", "0.01", "--fitness-episodes", "2"),
)


def ends(run_dir: Path) -> tuple[int, float, float]:
    """Generations so far; mean return of the agents of the first and of the last `SPAN`."""
    rows = [row for row in read_metrics(run_dir).agents if row.return_mean is not None]
    generations = max(row.life for row in rows) + 1
    first = [row.return_mean for row in rows if row.life < SPAN]
    last = [row.return_mean for row in rows if row.life >= generations - SPAN]
    return generations, float(np.mean(first)), float(np.mean(last))


def report(out: Path) -> str:
    """The study in Markdown."""
    runs = [ends(out / f"seed-{seed}") for seed in range(SEEDS)]
    rise = mean_interval([last - first for _, first, last in runs])
    low, high = rise.mean - rise.half_width, rise.mean + rise.half_width
    return "\n".join(
        [
            "# Evolved Policy Gradients: the meta-objective over the generations",
            "",
            "- command: `python experiments/epg.py OUT`, which runs",
            f"  `metagenrl {shlex.join(WORDS)} --run-dir OUT`",
            f"- machine: {machine()}",
            "- the meta-objective: mean return, over 2 episodes of the deterministic policy, of "
            "the 16 agents that a generation's perturbed losses train from scratch for 256 steps "
            "each; PPO's loss is not mixed in",
            "",
            f"| seed | generations | first {SPAN} | last {SPAN} |",
            "| --- | --- | --- | --- |",
            *(
                f"| {n} | {g} | {first:.1f} | {last:.1f} |"
                for n, (g, first, last) in enumerate(runs)
            ),
            "",
            f"Rise, mean and 95 % interval over seeds (Student's t): **{rise.mean:+.1f}** "
            f"({low:+.1f} … {high:+.1f}).",
            "",
        ]
    )


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    o = parser.parse_args()
    if run_here([Job(o.out, WORDS)], 1):
        raise SystemExit(1)
    text = report(o.out)
    o.results.mkdir(parents=True, exist_ok=True)
    (o.results / "epg.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
