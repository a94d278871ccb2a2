"""Stable-Baselines3's TD3 whose actor is trained by the learned objective.

    pip install stable-baselines3
    python examples/sb3_td3.py --objective pretrained

`LearnedTD3` and `SegmentBuffer` are all that it takes: TD3 trains its critics as it always does,
and the objective's loss takes the place of the actor's. L_alpha looks at stretches of a trajectory,
hence a replay buffer that samples them.
"""

import argparse
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import TD3
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.utils import polyak_update

import metagenrl

SEGMENTS, LENGTH = 16, 20  # of a minibatch, and steps of each


class SegmentBuffer(ReplayBuffer):
    """SB3's buffer that also keeps trajectories whole (one environment)."""

    def __init__(self, size: int, observations: Any, actions: Any, *rest: Any, **more: Any) -> None:
        super().__init__(size, observations, actions, *rest, **more)
        self.whole = metagenrl.ReplayBuffer(size, observations.shape[0], actions.shape[0])

    def add(self, obs: Any, next_obs: Any, action: Any, reward: Any, done: Any, infos: Any) -> None:
        """Store one step; a time limit's end is not terminal."""
        super().add(obs, next_obs, action, reward, done, infos)
        cut = bool(infos[0].get("TimeLimit.truncated", False))
        terminated = bool(done[0]) and not cut
        self.whole.add(obs[0], action[0], float(reward[0]), next_obs[0], terminated, cut)


class LearnedTD3(TD3):
    """TD3 with L_alpha as the loss of its actor."""

    def __init__(self, *words: Any, objective: metagenrl.Objective, **more: Any) -> None:
        more |= {"policy_delay": 2**62, "replay_buffer_class": SegmentBuffer}  # no actor step
        super().__init__(*words, **more)
        self.objective, self.rng = objective, np.random.default_rng(self.seed)

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Critics as in TD3, one at a time with a step of the actor."""
        for _ in range(gradient_steps):
            super().train(1, batch_size)
            batch = self.replay_buffer.whole.sample(self.rng, SEGMENTS, LENGTH).batch()
            loss = self.objective.loss(batch, self.act, self.value)
            self.actor.optimizer.zero_grad()
            loss.backward()
            self.actor.optimizer.step()
            for net, target in ((self.actor, self.actor_target), (self.critic, self.critic_target)):
                polyak_update(net.parameters(), target.parameters(), self.tau)

    def act(self, s: torch.Tensor) -> torch.Tensor:
        """`[B, T, O] -> [B, T, A]`: SB3's networks take flat rows."""
        return self.actor(s.flatten(0, 1)).unflatten(0, s.shape[:2])

    def value(self, s: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """`[B, T, O], [B, T, A] -> [B, T, 1]`, by the first critic."""
        q = self.critic.q1_forward(s.flatten(0, 1), a.flatten(0, 1))
        return q.unflatten(0, s.shape[:2])


def train(
    env_id: str, objective: metagenrl.Objective | None, steps: int, seed: int, every: int = 1_000
) -> list[float]:
    """Mean return of five episodes every `every` steps; without an objective SB3's own TD3."""
    size = gymnasium.make(env_id).action_space.shape
    noise = NormalActionNoise(np.zeros(size), np.full(size, 0.2))
    settings: dict[str, Any] = {
        "policy": "MlpPolicy", "env": env_id, "seed": seed, "learning_starts": 500,
        "policy_kwargs": {"net_arch": [64, 64]}, "action_noise": noise,
        "device": "cpu",
    }  # fmt: skip
    agent = TD3(**settings) if objective is None else LearnedTD3(objective=objective, **settings)
    returns = []
    for _ in range(steps // every):
        agent.learn(every, reset_num_timesteps=False)
        mean, _ = evaluate_policy(agent, agent.get_env(), n_eval_episodes=5)
        returns.append(float(mean))
    return returns


def main() -> None:
    """Train one agent and print its returns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--objective", default="pretrained", help="pretrained, RUN, FILE, random, td3"
    )
    parser.add_argument("--env", default="InvertedPendulum-v5")
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    if words.steps < 1_000 or words.seed < 0:
        parser.error("--steps: at least 1,000, --seed: at least 0")
    chosen = None
    try:
        if words.objective == "random":
            chosen = metagenrl.random_objective(words.seed)
        elif words.objective != "td3":
            chosen = metagenrl.load_objective(words.objective)
        space = gymnasium.make(words.env).action_space
    except (ValueError, gymnasium.error.Error) as error:
        parser.error(str(error))
    if not isinstance(space, gymnasium.spaces.Box):
        parser.error(f"--env: {words.env} has the actions {space}, and continuous ones are needed")
    for i, value in enumerate(train(words.env, chosen, words.steps, words.seed), 1):
        print(f"{i * 1_000:>8,} steps  return {value:10.1f}", flush=True)


if __name__ == "__main__":
    main()
