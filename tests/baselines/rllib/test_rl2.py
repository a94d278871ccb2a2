"""RL^2: memory is used, trials reach RLlib whole, policies survive their way to a meta-test."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from metagenrl.base.files.errors import CorruptFile
from metagenrl.baselines.padding import Padding
from metagenrl.baselines.policy_files import policy_folders, read_policy, write_policy
from metagenrl.baselines.rllib import rl2
from metagenrl.baselines.rllib.policy import PpoPolicy
from metagenrl.baselines.rllib.ppo import PpoAgent
from metagenrl.baselines.rllib.rl2 import Rl2Agent, Rl2Tester, play_trials, rl2_agent
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.runs.agent_job import ObjectiveChoice, TraineeJob
from metagenrl.runs.config.baselines import OnPolicyConfig, PpoConfig, Rl2Config

STEPS = 4  # of an episode
TRIAL = 2 * STEPS
ENVS = ("PaysUp-v0", "PaysDown-v0")


class DelayedBandit(gymnasium.Env[Any, Any]):
    """Two environments that look alike: one pays for positive actions, one for negative ones.

    The pay of an episode comes with its last step, so that within the next episode only memory
    tells which environment this is.
    """

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, sign: float) -> None:
        self.sign, self.total, self.t = sign, 0.0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.total, self.t = 0.0, 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.total += self.sign * float(action[0])
        self.t += 1
        over = self.t == STEPS
        return np.zeros(1, np.float32), self.total if over else 0.0, over, False, {}


@pytest.fixture(autouse=True)
def bandits() -> Iterator[None]:
    """Both are registered, and training runs as in an agent's process."""
    torch.set_num_threads(1)
    for env, sign in zip(ENVS, (1.0, -1.0), strict=True):
        gymnasium.register(env, entry_point=DelayedBandit, kwargs={"sign": sign})
    yield
    for env in ENVS:
        del gymnasium.registry[env]


def job(folder: Path, **changes: Any) -> TraineeJob:
    values: dict[str, Any] = {
        "env": ENVS[0], "training_envs": ENVS, "seed": 0, "label": "rl2", "steps": 8_000,
        "eval_every": 8_000, "eval_episodes": 1, "folder": str(folder),
        "agent": AgentConfig(hidden_units=16, hidden_layers=1),
        "objective": ObjectiveChoice("rl2"), "on_policy": OnPolicyConfig(rollout_steps=400),
        "ppo": PpoConfig(learning_rate=3e-3, epochs=8, minibatch=100), "rl2": Rl2Config(16),
    }  # fmt: skip
    return TraineeJob(**values | changes)


def last_returns(agent: Rl2Agent, policy: PpoPolicy) -> list[float]:
    """The return of a trial's second episode in each environment."""
    trials = [play_trials(policy, env, 0, agent.padding, 2, 1) for env in ENVS]
    return [lived[-1].undiscounted_return for lived in trials]


class Amnesiac:
    """A policy whose memory is wiped before every step."""

    def __init__(self, policy: PpoPolicy) -> None:
        self.policy = policy

    def start(self) -> None:
        """There is nothing to forget."""

    def act(self, observation: Any) -> Any:
        self.policy.start()
        return self.policy.act(observation)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_it_learns_within_a_trial_and_by_memory(tmp_path: Path, seed: int) -> None:
    """4 is the most in either environment; without memory the two returns sum up to 0.

    The environments look alike, so a memoryless policy takes the same actions in both.
    """
    agent = Rl2Agent(job(tmp_path, seed=seed))
    for _ in range(8_000):
        agent.step()
    returns = last_returns(agent, agent.policy())
    assert min(returns) > 2.0
    wiped = last_returns(agent, Amnesiac(agent.policy()))  # type: ignore[arg-type]
    assert sum(wiped) < sum(returns) - 1.0
    memoryless = PpoAgent(job(tmp_path, training_envs=(), steps=400))
    for _ in range(400):
        memoryless.step()
    plain = [memoryless.evaluate(1, env)[0].undiscounted_return for env in ENVS]
    assert sum(plain) == pytest.approx(0.0, abs=1e-5)


def test_the_learner_sees_whole_trials(tmp_path: Path) -> None:
    """RLlib's episodes are trials, and its rewards those of both of their episodes."""
    agent = Rl2Agent(job(tmp_path, steps=400))
    episodes = agent.runner.sample(num_timesteps=5 * TRIAL)
    assert [len(episode) for episode in episodes if episode.is_done] == [TRIAL] * 5
    done_flags = episodes[0].get_observations()[:, -1]
    assert np.flatnonzero(done_flags > done_flags.mean()).tolist() == [STEPS, TRIAL]
    assert agent.module.is_stateful()
    assert agent.padding == Padding(1, 1)
    assert agent.env.steps == [24, 16]  # type: ignore[attr-defined]


def test_evaluation_is_of_the_last_episodes_and_repeats_itself(tmp_path: Path) -> None:
    agent = Rl2Agent(job(tmp_path))
    episodes = agent.evaluate(2, ENVS[1])
    assert [episode.length for episode in episodes] == [STEPS, STEPS]
    assert episodes == agent.evaluate(2, ENVS[1])
    lived = play_trials(agent.policy(), ENVS[1], 0, agent.padding, 2, 2)
    assert episodes == lived[1::2]


def test_a_meta_test_takes_policies_in_turn(tmp_path: Path) -> None:
    agents = [Rl2Agent(job(tmp_path, seed=seed)) for seed in (4, 5)]
    for seed, agent in zip((4, 5), agents, strict=True):
        write_policy(tmp_path / f"seed-{seed}.policy", agent.policy_state())
    choice = ObjectiveChoice("rl2", str(tmp_path))
    for seed, agent in zip((0, 1, 2), (agents[0], agents[1], agents[0]), strict=True):
        test_job = job(tmp_path, seed=seed, objective=choice, training_envs=(), steps=20)
        tester = rl2_agent(test_job)
        assert isinstance(tester, Rl2Tester)
        expected = play_trials(agent.policy(), ENVS[0], seed, agent.padding, 2, 1)
        assert tester.evaluate(1, ENVS[0]) == expected[1:]
        ends = {step + 1: tester.step() for step in range(20)}
        found = {step: episode for step, episode in ends.items() if episode is not None}
        assert found == {STEPS: expected[0], TRIAL: expected[1]}


def test_a_trial_in_which_the_environment_raises_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, calls = Rl2Agent(job(tmp_path)), 0
    original = rl2.SteadyEnvironment.step

    def once(self: Any, action: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            self.environment._env.unwrapped.step = None  # not callable: the next step raises
        result = original(self, action)
        if calls == 2:
            del self.environment._env.unwrapped.step
        return result

    monkeypatch.setattr(rl2.SteadyEnvironment, "step", once)
    lived = play_trials(agent.policy(), ENVS[0], 0, agent.padding, 2, 1)
    assert [episode.length for episode in lived] == [STEPS, STEPS]
    assert calls == 2 + STEPS + TRIAL  # the cut trial's other episode, then a whole one


def test_a_damaged_policy_is_refused(tmp_path: Path) -> None:
    write_policy(tmp_path / "seed-0.policy", {"network": {}, "parameters": {"w": np.ones(9)}})
    (folder,) = policy_folders(tmp_path)
    file = folder / "policy.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(CorruptFile):
        read_policy([folder], 0)
