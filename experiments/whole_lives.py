"""Do whole lives tell more of an objective than one update does? Evolution strategies on its last layer.

    PYTHONPATH=experiments python experiments/whole_lives.py pretrained OUT --generations 12 --along 0,2,3,4

A meta-gradient (Eq. 6) looks one update ahead: it does not see what an update does to exploration,
to the critic or to later updates. The returns of whole lives do (Salimans et al. 2017; for learned
objectives Jackson et al. 2024, "Discovering Temporally-Aware Reinforcement Learning Algorithms").

A generation has, in each training environment, two objectives that lie opposite each other around
the present one; each trains a new agent of the same number. What is evolved is the last layer of
L_alpha's head, in units of its root mean square; all other parameters stay. At the end objectives
are written that lie `--along` the mean direction of all pairs, and each trains agents of new
numbers. OUT keeps a row for each pair and each of these; the same command goes on where it was cut.
"""
# ruff: noqa: E501

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from metagenrl.agents.environment.spec import drawn_environment
from metagenrl.agents.trainee import Trainee, TraineeConfig
from metagenrl.base.paths import user_path
from metagenrl.baselines.epg.evolution_strategies import noise_vectors
from metagenrl.learner.hyperparams import AgentConfig, ObjectiveConfig
from metagenrl.learner.objective.net import ObjectiveNet
from metagenrl.learner.policy_update import Learned
from metagenrl.objective_server.snapshots.find import find_snapshot
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.presets import PRESETS
from metagenrl.runs.config.yaml import build

Array32 = NDArray[np.float32]
RECIPE = Path(__file__).parent / "recipes/generalisation.yaml"
FIRST_AGENT, FIRST_ALONG = 50_000, 60_000
"""Numbers of the agents of generations and of those afterwards; studies' are far below."""
CLIP = 3.0
"""Bound of a pair's difference over the root mean square of its environment's."""
EVALUATIONS = 5
"""In the last two thirds of a life."""


@dataclass(frozen=True)
class Life:
    """One agent, from its first step to its last."""

    env: str
    number: int
    config: ObjectiveConfig
    alpha: Array32
    agent: AgentConfig
    steps: int
    episodes: int


def fitness(life: Life) -> float:
    """Mean return of the deterministic policy over the life's evaluations."""
    env = drawn_environment(life.env, life.number, 0, 0)
    objective = Learned(ObjectiveNet(life.config), torch.from_numpy(life.alpha))
    trainee = Trainee(TraineeConfig(env, life.number, life.agent), objective)
    at = {round(life.steps * share) for share in np.linspace(1 / 3, 1, EVALUATIONS)}
    returns = []
    try:
        while trainee.steps < life.steps:
            trainee.step()
            if trainee.steps in at:
                episodes = trainee.evaluate(life.episodes)
                returns.append(np.mean([episode.undiscounted_return for episode in episodes]))
    finally:
        trainee.close()
    return float(np.mean(returns))


@dataclass(frozen=True, eq=False)
class Evolved:
    """The objective that it begins with, and the part of it that is evolved."""

    first: ObjectiveSnapshot

    @cached_property
    def config(self) -> ObjectiveConfig:
        """The architecture."""
        return build(ObjectiveConfig, self.first.config)

    @cached_property
    def layer(self) -> NDArray[np.int64]:
        """Indices of the head's last weights in alpha."""
        layout = ObjectiveNet(self.config).layout
        views = layout.views(torch.arange(layout.size))
        return np.asarray(views["head/w_out"].reshape(-1))

    def alpha(self, theta: Array32) -> Array32:
        """Alpha `[P]` with `theta`, in units of the layer's root mean square, added to the layer."""
        alpha = self.first.alpha.copy()
        alpha[self.layer] += theta * np.sqrt(np.mean(np.square(alpha[self.layer])))
        return alpha


def scores(rows: Sequence[dict[str, Any]]) -> Array32:
    """What each pair says: its difference over the root mean square of its environment's, clipped."""
    difference = np.array([row["plus"] - row["minus"] for row in rows])
    env = np.array([row["env"] for row in rows])
    scale = np.array([np.sqrt(np.mean(difference[env == one] ** 2)) for one in env])
    return np.clip(difference / np.where(scale > 0, scale, 1), -CLIP, CLIP).astype(np.float32)


class Study:
    """The rows so far and what follows from them."""

    def __init__(self, o: argparse.Namespace) -> None:
        self.o, self.envs = (
            o,
            o.envs or yaml.safe_load(RECIPE.read_text())["environments"]["meta_training"],
        )
        self.evolved = Evolved(
            ObjectiveSnapshot.load(find_snapshot(user_path("objective", o.objective)))
        )
        self.agent = dataclasses.replace(PRESETS["small"].train.agent, batch_size=8)
        self.file = o.out / "rows.jsonl"
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.rows = [json.loads(line) for line in lines]

    def noise(self, generation: int) -> Array32:
        """The generation's directions, one an environment: `[E, size]`."""
        rng = np.random.default_rng([self.o.seed, generation])
        return noise_vectors(len(self.envs), len(self.evolved.layer), antithetic=False, rng=rng)

    def pairs(self) -> list[dict[str, Any]]:
        """The rows of all pairs, in their order."""
        return [row for row in self.rows if "plus" in row]

    def direction(self) -> Array32:
        """The mean direction of ascent, of length 1."""
        pairs = self.pairs()
        noise = np.concatenate([self.noise(g) for g in range(len(pairs) // len(self.envs))])
        mean = scores(pairs) @ noise
        return np.asarray(mean / np.linalg.norm(mean), np.float32)

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Keep rows."""
        for row in rows:
            self.rows.append(row)
            with self.file.open("a") as file:
                file.write(json.dumps(row) + "\n")

    def life(self, env: str, number: int, theta: Array32) -> Life:
        """An agent's life under the objective at `theta`."""
        return Life(
            env,
            number,
            self.evolved.config,
            self.evolved.alpha(theta),
            self.agent,
            self.o.steps,
            self.o.episodes,
        )

    def run(self, pool: ProcessPoolExecutor) -> None:
        """Everything that is not in the file yet."""
        theta = np.zeros(len(self.evolved.layer), np.float32)
        for generation in range(self.o.generations):
            noise = self.noise(generation)
            if len(self.pairs()) < (generation + 1) * len(self.envs):
                number = FIRST_AGENT + 1000 * self.o.seed + generation
                lives = [self.life(env, number, theta + sign * self.o.sigma * eps)
                         for env, eps in zip(self.envs, noise, strict=True) for sign in (1, -1)]  # fmt: skip
                found = list(pool.map(fitness, lives))
                self.write({"generation": generation, "env": env, "plus": found[2 * i], "minus": found[2 * i + 1]}
                           for i, env in enumerate(self.envs))  # fmt: skip
            known = scores(self.pairs()[: (generation + 1) * len(self.envs)])[-len(self.envs) :]
            theta = theta + np.float32(self.o.step) * (known @ noise) / len(self.envs)
            print(
                f"generation {generation}: {np.linalg.norm(theta):.2f} from the start", flush=True
            )
        for along in self.o.along:
            self._along(along, pool)

    def _along(self, along: float, pool: ProcessPoolExecutor) -> None:
        theta = np.float32(along) * self.direction()
        first = self.evolved.first
        run = f"{first.run}, {along:g} along whole lives"
        dataclasses.replace(first, alpha=self.evolved.alpha(theta), run=run).save(
            self.o.out / f"along-{along:g}.safetensors"
        )
        if any(row.get("along") == along for row in self.rows):
            return
        wanted = [
            (env, FIRST_ALONG + n)
            for n in range(self.o.agents)
            for env in (*self.envs, *self.o.others)
        ]
        found = pool.map(fitness, [self.life(env, number, theta) for env, number in wanted])
        self.write({"along": along, "env": env, "agent": number, "fitness": value}
                   for (env, number), value in zip(wanted, list(found), strict=True))  # fmt: skip


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("objective")
    parser.add_argument("out", type=Path)
    parser.add_argument("--envs", nargs="+", help="default: those of recipes/generalisation.yaml")
    parser.add_argument("--others", nargs="*", default=[], help="more of them, for --along alone")
    parser.add_argument("--generations", type=int, default=12)
    parser.add_argument("--sigma", type=float, default=1.0)
    parser.add_argument("--step", type=float, default=0.15)
    parser.add_argument(
        "--along", type=lambda text: [float(x) for x in text.split(",")], default=[]
    )
    parser.add_argument("--agents", type=int, default=2, help="in each environment, for --along")
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--episodes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    o = parser.parse_args()
    torch.set_num_threads(1)
    o.out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(o.workers) as pool:
        Study(o).run(pool)


if __name__ == "__main__":
    main()
