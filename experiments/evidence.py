"""Learning evidence: meta-train, freeze alpha, train new agents, compare with the controls.

    python experiments/evidence.py cheap OUT     # issue's family a: two cheap environments
    python experiments/evidence.py pair OUT      # the paper's pair, LunarLander and HalfCheetah

Every command is an ordinary `metagenrl` command; `OUT` keeps the run folders, so an interrupted
evidence run goes on where it stood. Tables and pictures go to `results/`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from jobs import Job, run_all
from report import write_report

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Study:
    """One meta-training set-up and how its objectives are tested."""

    word: str  # on the command line
    name: str  # of its files under results/
    title: str
    train: tuple[str, ...]  # flags of `metagenrl train`
    meta_seeds: tuple[int, ...]
    envs: tuple[str, ...]  # seen in meta-training
    unseen: tuple[str, ...]
    seeds: int
    steps: int
    baselines: tuple[str, ...]
    test: tuple[str, ...] = ()  # further flags of every test and baseline


STUDIES = [
    Study(
        word="cheap",
        name="cheap_family",
        title="Two cheap environments",
        train=(
            "--preset", "small", "--batch-size", "8", "--inner-step-size", "4e-3",
            "--agents", "16", "--steps", "12000",
        ),
        meta_seeds=(100, 101, 102),  # results/learning_notes.md: what was looked at before
        envs=("Pendulum-v1", "InvertedDoublePendulum-v5"),
        unseen=("InvertedPendulum-v5", "Reacher-v5"),
        seeds=5,
        steps=10_000,
        baselines=("reinforce-off", "td3"),
        test=("--batch-size", "8"),
    ),
    Study(
        word="pair",
        name="paper_pair",
        title="The paper's pair: LunarLanderContinuous-v3 and HalfCheetah-v5",
        train=(
            "--preset", "small", "--batch-size", "8", "--inner-step-size", "4e-3",
            "--agents", "8", "--steps", "50000", "--lifetime", "12500",
        ),
        meta_seeds=(100,),
        envs=("LunarLanderContinuous-v3", "HalfCheetah-v5"),
        unseen=("Hopper-v5",),
        seeds=3,
        steps=10_000,
        baselines=("reinforce-off", "td3"),
        test=("--batch-size", "8"),
    ),
]  # fmt: skip


def jobs_of(study: Study, out: Path) -> list[Job]:
    """Meta-training, then every test, by what waits for it."""
    train = [out / f"train-{seed}" for seed in study.meta_seeds]
    jobs = [
        Job(
            folder,
            ("train", *study.train, "--envs", *study.envs, "--seed", str(seed),
             "--engine", "inprocess", "--wandb", "disabled"),
        )
        for seed, folder in zip(study.meta_seeds, train, strict=True)
    ]  # fmt: skip
    shared = (
        "--seeds", str(study.seeds), "--steps", str(study.steps), "--workers", "1",
        "--eval-every", str(max(1, study.steps // 5)), "--eval-episodes", "10", *study.test,
    )  # fmt: skip
    for env in (*study.envs, *study.unseen):
        common = ("--env", env, *shared)
        random = ("test", "--objective", "random", "--preset", "small", *common)
        jobs.append(Job(out / env / "random", random))
        jobs += [
            Job(out / env / algo, ("baseline", "--algo", algo, "--preset", "small", *common))
            for algo in study.baselines
        ]
    for seed, folder in zip(study.meta_seeds, train, strict=True):
        jobs += [
            Job(
                out / env / f"learned-{seed}",
                ("test", "--objective", str(folder), "--version", "last", "--env", env, *shared),
                after=(folder,),
            )
            for env in (*study.envs, *study.unseen)
        ]
    return jobs


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=[study.word for study in STUDIES])
    parser.add_argument("out", type=Path)
    parser.add_argument("--parallel", type=int, default=2, help="commands at the same time")
    parser.add_argument("--report-only", action="store_true", help="from what is there already")
    arguments = parser.parse_args()
    study = next(study for study in STUDIES if study.word == arguments.study)
    jobs = jobs_of(study, arguments.out)
    if not arguments.report_only:
        run_all(jobs, arguments.parallel)
    write_report(study, arguments.out, ROOT / "results")


if __name__ == "__main__":
    main()
