"""A plain off-policy agent in one file, whose policy loss is the learned objective.

    python examples/off_policy_agent.py --objective pretrained
    python examples/off_policy_agent.py --objective random   # the control
    python examples/off_policy_agent.py --objective critic   # the same agent as DDPG

It is DDPG with twin critics. Only three lines know of the learned objective; they are marked.
"""

import argparse
import copy
from collections.abc import Callable

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

import metagenrl

SEGMENTS, LENGTH = 16, 20  # of a minibatch, and steps of each
GAMMA, POLYAK, NOISE = 0.99, 0.005, 0.2
RANDOM_STEPS = 500
REPORT_EVERY = 1_000

PolicyLoss = Callable[[metagenrl.Batch, "Policy", "Critic"], Tensor]


def network(inputs: int, outputs: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, 64), nn.ReLU(), nn.LayerNorm(64),
        nn.Linear(64, 64), nn.ReLU(), nn.LayerNorm(64),
        nn.Linear(64, outputs),
    )  # fmt: skip


class Policy(nn.Module):
    """pi(s): `[..., O] -> [..., A]` in [-1, 1]."""

    def __init__(self, observations: int, actions: int) -> None:
        super().__init__()
        self.body = network(observations, actions)

    def forward(self, s: Tensor) -> Tensor:
        """The action."""
        return self.body(s).tanh()


class Critic(nn.Module):
    """Q(s, a): `[..., O], [..., A] -> [...]`."""

    def __init__(self, observations: int, actions: int) -> None:
        super().__init__()
        self.body = network(observations + actions, 1)

    def forward(self, s: Tensor, a: Tensor) -> Tensor:
        """The value."""
        return self.body(torch.cat([s, a], -1)).squeeze(-1)


class Agent:
    """Policy, twin critics and replay; `policy_loss` says what the policy descends."""

    def __init__(self, env: gymnasium.Env, policy_loss: PolicyLoss, seed: int) -> None:
        torch.manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        o, a = env.observation_space.shape[0], env.action_space.shape[0]
        self.policy_loss = policy_loss
        self.policy, self.critics = Policy(o, a), nn.ModuleList([Critic(o, a), Critic(o, a)])
        self.policy_target = copy.deepcopy(self.policy)
        self.critics_target = copy.deepcopy(self.critics)
        self.policy_adam = torch.optim.Adam(self.policy.parameters(), 1e-3)
        self.critic_adam = torch.optim.Adam(self.critics.parameters(), 1e-3)
        self.replay = metagenrl.ReplayBuffer(100_000, o, a)

    @torch.no_grad()
    def act(self, s: np.ndarray, noise: float = 0.0) -> np.ndarray:
        """`[O] -> [A]`, with Gaussian exploration."""
        a = self.policy(torch.as_tensor(s, dtype=torch.float32)).numpy()
        return np.clip(a + noise * self.rng.normal(size=a.shape), -1, 1).astype(np.float32)

    def update(self) -> None:
        """One step of the critics, one of the policy, and the targets follow."""
        batch = self.replay.sample(self.rng, SEGMENTS, LENGTH).batch()
        self.descend(self.critic_loss(batch), self.critic_adam)
        self.descend(self.policy_loss(batch, self.policy, self.critics[0]), self.policy_adam)
        for target, source in (
            (self.policy_target, self.policy),
            (self.critics_target, self.critics),
        ):
            for old, new in zip(target.parameters(), source.parameters(), strict=True):
                old.data.lerp_(new.data, POLYAK)

    def critic_loss(self, batch: metagenrl.Batch) -> Tensor:
        """Squared TD error of both critics on the batch's valid steps."""
        s, s_next = batch.observations[:, :-1], batch.observations[:, 1:]
        with torch.no_grad():
            a_next = self.policy_target(s_next)
            lowest = torch.minimum(*(q(s_next, a_next) for q in self.critics_target))
            y = batch.rewards + GAMMA * (1 - batch.terminated) * lowest
        error = sum((q(s, batch.actions) - y).square() for q in self.critics)
        return (error * batch.mask).sum() / batch.mask.sum()

    @staticmethod
    def descend(loss: Tensor, adam: torch.optim.Optimizer) -> None:
        """One step of Adam."""
        adam.zero_grad()
        loss.backward()
        adam.step()


def critic_loss_of_policy(batch: metagenrl.Batch, policy: Policy, critic: Critic) -> Tensor:
    """The deterministic policy gradient: what the learned objective replaces."""
    s = batch.observations[:, :-1]
    return -(critic(s, policy(s)) * batch.mask).sum() / batch.mask.sum()


def policy_loss_for(name: str, seed: int) -> PolicyLoss:
    """`critic`, `random` (the control), or whatever `metagenrl.load_objective` takes."""
    if name == "critic":
        return critic_loss_of_policy
    if name == "random":
        return metagenrl.random_objective(seed).loss  # learned objective, line 1: the control
    objective = metagenrl.load_objective(name)  # line 2: load it
    return objective.loss  # line 3: it takes the place of `critic_loss_of_policy`


def train(env_id: str, policy_loss: PolicyLoss, steps: int, seed: int) -> list[float]:
    """Train an agent; the mean return of five undisturbed episodes every `REPORT_EVERY` steps."""
    env = gymnasium.make(env_id)
    agent, returns = Agent(env, policy_loss, seed), []
    s, _ = env.reset(seed=seed)
    for step in range(1, steps + 1):
        early = step <= RANDOM_STEPS
        a = agent.rng.uniform(-1, 1, env.action_space.shape) if early else agent.act(s, NOISE)
        s_next, reward, terminated, truncated, _ = env.step(scaled(a, env.action_space))
        agent.replay.add(s, a, float(reward), s_next, terminated, truncated)
        s = env.reset()[0] if terminated or truncated else s_next
        if not early:
            agent.update()
        if step % REPORT_EVERY == 0:
            returns.append(evaluate(env_id, agent, seed))
    env.close()
    return returns


def evaluate(env_id: str, agent: Agent, seed: int, episodes: int = 5) -> float:
    """Mean return without exploration noise."""
    env, total = gymnasium.make(env_id), 0.0
    for episode in range(episodes):
        s, _ = env.reset(seed=1_000_003 * (seed + 1) + episode)
        over = False
        while not over:
            action = scaled(agent.act(s), env.action_space)
            s, reward, terminated, truncated, _ = env.step(action)
            total, over = total + float(reward), terminated or truncated
    env.close()
    return total / episodes


def scaled(a: np.ndarray, space: gymnasium.spaces.Box) -> np.ndarray:
    """From [-1, 1] to the environment's bounds."""
    action: np.ndarray = space.low + (a + 1) / 2 * (space.high - space.low)
    return action.astype(space.dtype)


def main() -> None:
    """Train one agent and print its returns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--objective", default="pretrained", help="pretrained, RUN, FILE, random, critic"
    )
    parser.add_argument("--env", default="InvertedPendulum-v5")
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    if words.steps < REPORT_EVERY or words.seed < 0:
        parser.error(f"--steps: at least {REPORT_EVERY:,}, --seed: at least 0")
    try:
        loss = policy_loss_for(words.objective, words.seed)
        space = gymnasium.make(words.env).action_space
    except (ValueError, gymnasium.error.Error) as error:
        parser.error(str(error))
    if not isinstance(space, gymnasium.spaces.Box):
        parser.error(f"--env: {words.env} has the actions {space}, and continuous ones are needed")
    for i, value in enumerate(train(words.env, loss, words.steps, words.seed), 1):
        print(f"{i * REPORT_EVERY:>8,} steps  return {value:10.1f}", flush=True)


if __name__ == "__main__":
    main()
