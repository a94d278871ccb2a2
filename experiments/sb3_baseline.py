"""TD3, SAC or PPO by Stable-Baselines3, with the settings and the rows of `metagenrl baseline`.

    python experiments/sb3_baseline.py td3 --env Pendulum-v1 --steps 20480 --run-dir OUT

The other side of `experiments/baselines.py`. Writes `evaluations.jsonl` as our commands do;
`--resume` goes on with the seeds that are not finished, each from its start.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import RescaleAction
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from metagenrl.runs.agent_files import RowFile, is_finished, merge_evaluations
from metagenrl.runs.rows import EvaluationRow


def environment(o: argparse.Namespace) -> gymnasium.Env:
    """PPO's actions are in [-1, 1], as ours are; TD3 and SAC scale them by themselves."""
    env = gymnasium.make(o.env)
    return env if o.algo in ("td3", "sac") else RescaleAction(env, -1.0, 1.0)


class Evaluations(BaseCallback):
    """A row every `eval_every` steps, after the update that is due there."""

    def __init__(self, options: argparse.Namespace, seed: int, rows: RowFile) -> None:
        super().__init__()
        self.options, self.seed, self.rows = options, seed, rows
        self.done: set[int] = set()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps % self.options.eval_every == 0:
            self.evaluate()

    def _on_step(self) -> bool:
        return True

    def evaluate(self) -> None:
        """Undisturbed episodes; always the same initial states."""
        steps = int(self.num_timesteps)
        if steps in self.done:
            return
        self.done.add(steps)
        env = environment(self.options)
        returns = []
        for episode in range(self.options.eval_episodes):
            observation, _ = env.reset(seed=1_000_003 * (self.seed + 1) + episode)
            total, over = 0.0, False
            while not over:
                action, _ = self.model.predict(self._seen(observation), deterministic=True)
                observation, reward, terminated, truncated, _ = env.step(action)
                total, over = total + float(reward), terminated or truncated
            returns.append(total)
        env.close()
        o = self.options
        mean = float(np.mean(returns))
        self.rows.write(EvaluationRow(f"SB3 {o.algo}", o.env, self.seed, steps, mean, (*returns,)))

    def _seen(self, observation: np.ndarray) -> np.ndarray:
        normalizer = self.model.get_vec_normalize_env()
        return observation if normalizer is None else normalizer.normalize_obs(observation)


def td3(o: argparse.Namespace, seed: int) -> BaseAlgorithm:
    """TD3 with the constants of section 4 and minibatches of single transitions."""
    env = environment(o)
    size = env.action_space.shape
    return TD3(
        "MlpPolicy", env, learning_rate=1e-3, buffer_size=100_000, learning_starts=1_000,
        batch_size=o.batch, tau=0.005, gamma=o.gamma, train_freq=1, gradient_steps=1,
        action_noise=NormalActionNoise(np.zeros(size), 0.1 * np.ones(size)), policy_delay=2,
        target_policy_noise=0.2, target_noise_clip=0.5, seed=seed, device="cpu",
        policy_kwargs={"net_arch": [o.hidden_units] * 2},
    )  # fmt: skip


def sac(o: argparse.Namespace, seed: int) -> BaseAlgorithm:
    """SAC with automatic temperature, TD3's minibatches and step sizes."""
    return SAC(
        "MlpPolicy", environment(o), learning_rate=1e-3, buffer_size=100_000,
        learning_starts=1_000, batch_size=o.batch, tau=0.005, gamma=o.gamma, train_freq=1,
        gradient_steps=1, ent_coef="auto", seed=seed, device="cpu",
        policy_kwargs={"net_arch": [o.hidden_units] * 2},
    )  # fmt: skip


def ppo(o: argparse.Namespace, seed: int) -> BaseAlgorithm:
    """PPO with normalised observations and rewards, and a step size that falls to 0."""
    env = DummyVecEnv([lambda: environment(o)])
    return PPO(
        "MlpPolicy", VecNormalize(env, gamma=o.gamma), n_steps=o.rollout_steps, batch_size=64,
        learning_rate=lambda left: left * o.learning_rate, n_epochs=10, gamma=o.gamma,
        gae_lambda=0.95, clip_range=0.2, ent_coef=0.0, vf_coef=0.5, max_grad_norm=0.5, seed=seed,
        device="cpu",
        policy_kwargs={"net_arch": [o.hidden_units] * 2, "activation_fn": torch.nn.Tanh},
    )  # fmt: skip


MAKERS: dict[str, Callable[[argparse.Namespace, int], BaseAlgorithm]] = {
    "td3": td3,
    "sac": sac,
    "ppo": ppo,
}


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algo", choices=MAKERS)
    parser.add_argument("--env", required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--learning-rate", type=float, default=3e-4, help="PPO's at its start")
    parser.add_argument("--gamma", type=float, default=0.99)
    for name, default in (
        ("seeds", 3), ("workers", 1), ("steps", 30_720), ("eval-every", 5_120),
        ("eval-episodes", 10), ("hidden-units", 64), ("batch", 256), ("rollout-steps", 1_024),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def train(o: argparse.Namespace, seed: int, path: Path) -> None:
    """One agent from its start, with its rows in `path`."""
    torch.set_num_threads(1)
    rows = RowFile(path)
    rows.cut(0)
    evaluations = Evaluations(o, seed, rows)
    MAKERS[o.algo](o, seed).learn(o.steps, evaluations)
    evaluations.evaluate()
    rows.close()


def main() -> None:
    """See the module's docstring."""
    o = options()
    folder = o.run_dir / "seeds"
    folder.mkdir(parents=True, exist_ok=o.resume)
    (o.run_dir / "config.yaml").write_text(json.dumps(vars(o), default=str, indent=2) + "\n")
    paths = [folder / f"seed-{seed}.jsonl" for seed in range(o.seeds)]
    missing = [(o, n, path) for n, path in enumerate(paths) if not is_finished(path, o.steps)]
    with ProcessPoolExecutor(o.workers, multiprocessing.get_context("spawn")) as pool:
        for future in [pool.submit(train, *each) for each in missing]:
            future.result()
    merge_evaluations(o.run_dir, paths)


if __name__ == "__main__":
    main()
