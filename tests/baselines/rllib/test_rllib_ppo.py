"""PPO by RLlib: state without pickles, the frozen policy, resuming, and that it learns."""

from pathlib import Path

import numpy as np
import pytest
import ray
import torch

from metagenrl.agents.experience.rollout import Episode
from metagenrl.base.files.checkpoint_folder import read_folder, write_folder
from metagenrl.baselines.gym_view import GymView
from metagenrl.baselines.rllib.policy import NetworkShape, ObservationFilter
from metagenrl.baselines.rllib.ppo import PpoAgent
from metagenrl.baselines.rllib.trainer import PpoRun, RllibPpo, frozen_policy
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.runs.agent_job import ObjectiveChoice, TraineeJob
from metagenrl.runs.config.baselines import OnPolicyConfig, PpoConfig

PPO = PpoConfig(learning_rate=3e-3, epochs=2, minibatch=50)


def make(seed: int = 0, lstm_units: int = 0, rollout: int = 200, steps: int = 1_000) -> RllibPpo:
    """An agent in Pendulum, whose episodes have 200 steps."""
    env = GymView("Pendulum-v1", np.random.default_rng(seed), 0.9)
    shape = NetworkShape(3, 1, 8, 1, lstm_units, sequence_length=5)
    return RllibPpo(env, PpoRun(seed, steps, rollout, 0.9, shape, PPO))


def lived(agent: RllibPpo, steps: int) -> list[tuple[int, Episode]]:
    """The episodes of the next `steps` steps, by the step at which they ended."""
    ends = [(agent.steps, agent.step()) for _ in range(steps)]
    return [(step + 1, episode) for step, episode in ends if episode is not None]


def parameters(agent: RllibPpo) -> dict[str, np.ndarray]:
    state: dict[str, np.ndarray] = agent.state_dict()["parameters"]
    return state


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(value, other[name]) for name, value in one.items())


def test_steps_and_episodes_are_counted_one_by_one() -> None:
    agent = make(rollout=150, steps=500)
    start = parameters(agent)
    assert lived(agent, 149) == []
    assert not agent.resumable
    assert equal(parameters(agent), start)
    agent.step()
    assert agent.resumable
    assert not equal(parameters(agent), start)
    after_one = parameters(agent)
    episodes = lived(agent, 350)
    assert [step for step, _ in episodes] == [200, 400]
    assert all(e.length == 200 and -2_000 < e.undiscounted_return < -100 for _, e in episodes)
    assert not equal(parameters(agent), after_one)
    assert not ray.is_initialized()  # all of it in this process


def test_the_rest_of_a_run_that_fills_no_rollout_changes_nothing() -> None:
    agent = make(rollout=150, steps=200)
    lived(agent, 150)
    trained = parameters(agent)
    assert [step for step, _ in lived(agent, 50)] == [200]
    assert equal(parameters(agent), trained)


@pytest.mark.parametrize("lstm_units", [0, 4])
def test_a_restored_agent_has_all_that_the_saved_one_had(tmp_path: Path, lstm_units: int) -> None:
    """Only the noise differs from the run that was not stopped: RLlib draws some at a reset."""
    whole = make(lstm_units=lstm_units)
    lived(whole, 400)
    write_folder(tmp_path, "checkpoint", {"agent": whole.state_dict()})
    saved = read_folder(tmp_path / "checkpoint")["agent"]
    resumed, again = make(lstm_units=lstm_units), make(lstm_units=lstm_units)
    for agent in (resumed, again):
        lived(agent, 3)
        agent.load_state_dict(saved)
    np.testing.assert_equal(resumed.state_dict(), whole.state_dict())
    assert lived(resumed, 400) == lived(again, 400)
    assert equal(parameters(resumed), parameters(again))
    assert resumed.state_dict()["learning_rate"] == pytest.approx(3e-3 * 0.2)
    steps = {value["step"] for value in resumed.state_dict()["adam"].values()}
    assert steps == {2 * value["step"] for value in saved["adam"].values()}


def test_an_episode_in_progress_is_begun_anew(tmp_path: Path) -> None:
    whole = make(rollout=150)
    lived(whole, 300)
    resumed = make(rollout=150)
    resumed.load_state_dict(whole.state_dict())
    assert [step for step, _ in lived(resumed, 300)] == [500]  # 200 steps from step 300 on


@pytest.mark.parametrize("lstm_units", [0, 4])
def test_the_frozen_policy_is_what_rllib_computes(tmp_path: Path, lstm_units: int) -> None:
    """Against RLlib's own runner without exploration, over a whole episode."""
    agent = make(lstm_units=lstm_units)
    lived(agent, 400)
    write_folder(tmp_path, "policy", {"policy": agent.frozen_state()})
    policy = frozen_policy(read_folder(tmp_path / "policy")["policy"])
    (sampled,) = agent.runner.sample(num_episodes=1, explore=False)
    f = agent.observation_filter()
    # The runner filters with statistics that go on: the policy gets what it made of them.
    policy._filter = ObservationFilter(2, np.zeros(3), np.ones(3))
    actions = np.array([policy.act(x) for x in sampled.get_observations()[:-1]])
    np.testing.assert_allclose(actions, sampled.get_actions(), atol=1e-5)
    assert f.count == 2 * 201 + 201  # every observation once, the first ones included


def test_the_filter_by_hand() -> None:
    """Count 3, sums of squares 8 and 0: standard deviation 2; a constant input is centred."""
    f = ObservationFilter(3, np.array([1.0, 5.0]), np.array([8.0, 0.0]))
    assert f(np.float32([2.0, 5.5])).tolist() == [0.5, 0.5]
    assert f(np.float32([-99.0, 5.0])).tolist() == [-10.0, 0.0]


def test_a_network_without_its_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where RLlib ignores what it is asked for (its old `model=` option does)."""
    original = NetworkShape.model_config

    def forgetful(self: NetworkShape) -> object:
        config = original(self)
        config.use_lstm = False
        return config

    monkeypatch.setattr(NetworkShape, "model_config", forgetful)
    with pytest.raises(RuntimeError, match="without the LSTM"):
        make(lstm_units=4)


def test_a_recurrent_policy_remembers_until_it_starts_anew() -> None:
    policy = make(lstm_units=4).policy()
    x = np.float32([0.3, -0.2, 1.0])
    first, second = policy.act(x), policy.act(x)
    assert not np.array_equal(first, second)
    policy.start()
    assert np.array_equal(policy.act(x), first)


@pytest.mark.slow
def test_it_learns_to_balance(tmp_path: Path) -> None:
    """Above 60 within 5 K steps in 2 of 3 seeds; untrained policies have about 8."""
    torch.set_num_threads(1)
    env, finals = "InvertedPendulum-v5", []
    for seed in range(3):
        job = TraineeJob(
            env=env, seed=seed, label="ppo", steps=5_000, eval_every=5_000,
            eval_episodes=5, folder=str(tmp_path), agent=AgentConfig(hidden_units=32, gamma=0.9),
            objective=ObjectiveChoice("ppo"), on_policy=OnPolicyConfig(rollout_steps=500),
            ppo=PpoConfig(learning_rate=3e-3),
        )  # fmt: skip
        agent = PpoAgent(job)
        lived(agent, 5_000)
        returns = [e.undiscounted_return for e in agent.evaluate(5, env)]
        finals.append(sum(returns) / len(returns))
    assert sum(final > 60 for final in finals) >= 2, finals
