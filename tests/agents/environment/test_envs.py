"""Environments as arrays: scaling, flattening, and episodes restored bit for bit."""

from __future__ import annotations

import json
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Space

from metagenrl.agents.environment.environment import Environment, EpisodeNotReproducible, StepResult
from metagenrl.agents.environment.guard import EnvironmentExit

RESTORABLE = (
    "Pendulum-v1",
    "InvertedDoublePendulum-v5",
    "HalfCheetah-v5",
    "Hopper-v5",
    "LunarLanderContinuous-v3",
    "MountainCarContinuous-v0",
    "Reacher-v5",
)
LOW, HIGH = np.float32([-1, 0, 10]), np.float32([1, 5, 30])


class Panic(BaseException):
    """As PyO3 raises it."""


class Probe(gymnasium.Env):
    """Observes, as [2, 2] float64, its seed's first draw, the step count and what it is told.

    `script` maps a step to what happens there; the class notes every reset seed and action.
    """

    observation_space: Space[Any] = Box(-np.inf, np.inf, (2, 2), np.float64)
    action_space: Space[Any] = Box(LOW, HIGH)
    script: dict[int, str] = {}  # noqa: RUF012 - replaced as a whole by each test
    seeds: list[int] = []  # noqa: RUF012
    actions: list[np.ndarray] = []  # noqa: RUF012
    resets_leave_traces = False

    def __init__(self) -> None:
        self.count = 0
        self.resets = 0
        # One array for all observations, as some environments have it.
        self.state = np.zeros((2, 2))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        Probe.seeds.append(seed)
        self.count = 0
        self.resets += 1
        self.state[:] = self.np_random.random()
        self.state[0, 1] = self.resets if self.resets_leave_traces else 0
        return self.state, {}

    def step(self, action):
        Probe.actions.append(action)
        self.count += 1
        self.state[1, 0] = self.count
        event = self.script.get(self.count, "")
        if event == "raise":
            raise OSError("the simulator died")
        if event == "panic":
            raise Panic("in Rust")
        self.state[1, 1] = np.nan if event == "nan observation" else self.np_random.random()
        reward = {"nan reward": np.float32("nan"), "huge reward": -1e39}.get(event, np.float32(0.5))
        return self.state, reward, event == "terminate", event == "truncate", {}


@pytest.fixture
def probe(monkeypatch):
    """Registers `Probe-v0`; a call gives it spaces or a script for this test."""

    def configure(**attributes: Any) -> str:
        for name, value in attributes.items():
            monkeypatch.setattr(Probe, name, value)
        return "Probe-v0"

    gymnasium.register("Probe-v0", entry_point=Probe, max_episode_steps=50)
    configure(seeds=[], actions=[])
    yield configure
    del gymnasium.registry["Probe-v0"]


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _play(environment: Environment, rng: np.random.Generator, steps: int) -> list[StepResult]:
    """Random actions over as many episodes as it takes."""
    results = []
    for _ in range(steps):
        if environment.observation is None:
            environment.reset()
        results.append(environment.step(rng.uniform(-1, 1, environment.action_size)))
    return results


def _bits(result: StepResult) -> tuple[bytes, float, bool, bool]:
    return result.observation.tobytes(), result.reward, result.terminated, result.truncated


def test_actions_are_scaled_to_each_dimension_and_clipped(probe):
    environment = Environment(probe(), _rng())
    environment.reset()
    for action, expected in (
        ([-1, -1, -1], LOW),
        ([1, 1, 1], HIGH),
        ([0, 0, 0], [0, 2.5, 20]),
        ([0.5, -0.5, 0.1], [0.5, 1.25, 21]),
        ([-3, 1.0001, 9], [-1, 5, 30]),
    ):
        environment.step(action)
        np.testing.assert_allclose(Probe.actions[-1], expected, rtol=1e-6)
        assert Probe.action_space.contains(Probe.actions[-1])


def test_action_takes_the_shape_and_type_of_the_space(probe):
    space = Box(-2, 2, (2, 3), np.float64)
    environment = Environment(probe(action_space=space), _rng())
    assert environment.action_size == 6
    environment.reset()
    environment.step([0, 0.5, 1, -0.5, -1, 0.25])
    np.testing.assert_array_equal(Probe.actions[-1], [[0, 1, 2], [-1, -2, 0.5]])
    assert Probe.actions[-1].dtype == np.float64


def test_action_space_is_the_one_that_was_there_first(probe, monkeypatch):
    environment = Environment(probe(), _rng())
    environment.reset()
    monkeypatch.setattr(Probe, "action_space", Box(-9, 9, (5,)))
    environment.step([-1, -1, -1])
    np.testing.assert_array_equal(Probe.actions[-1], LOW)


def test_observations_are_flat_float32_copies(probe):
    environment = Environment(probe(), _rng())
    first = environment.reset()
    assert first.shape == (4,)
    assert first.dtype == np.float32
    result = environment.step([0, 0, 0])
    assert first[2] != 1  # the environment wrote over its own array, not over ours
    assert result.observation[2] == 1
    assert type(result.reward) is float


def test_episode_counters_and_endings(probe):
    environment = Environment(probe(script={3: "terminate"}), _rng())
    environment.reset()
    results = [environment.step([0, 0, 0]) for _ in range(3)]
    assert [(r.terminated, r.truncated) for r in results] == [(False, False)] * 2 + [(True, False)]
    assert (environment.episode_return, environment.episode_length) == (1.5, 3)
    assert environment.observation is None
    with pytest.raises(RuntimeError, match="Probe-v0: step called between episodes"):
        environment.step([0, 0, 0])
    environment.reset()
    assert (environment.episode_return, environment.episode_length) == (0.0, 0)


def test_a_time_limit_truncates(probe):
    environment = Environment(probe(), _rng())
    environment.reset()
    last = [environment.step([0, 0, 0]) for _ in range(50)][-1]
    assert (last.terminated, last.truncated) == (False, True)
    assert environment.observation is None


def test_each_episode_has_a_fresh_seed_from_the_generator(probe):
    for _ in range(2):
        environment = Environment(probe(script={2: "truncate"}), _rng(5))
        _play(environment, _rng(), 20)
    assert len(set(Probe.seeds)) == 10
    assert Probe.seeds[:10] == Probe.seeds[10:]
    assert all(type(seed) is int for seed in Probe.seeds)


def test_step_refuses_bad_actions_and_keeps_the_episode(probe):
    environment = Environment(probe(), _rng())
    environment.reset()
    with pytest.raises(ValueError, match=r"action: got \(2,\), allowed: shape \(3,\)"):
        environment.step([0, 0])
    with pytest.raises(ValueError, match=r"action: got .*nan.*, allowed: finite numbers"):
        environment.step([0, np.nan, 0])
    assert Probe.actions == []
    assert environment.step([0, 0, 0]).observation[2] == 1


@pytest.mark.parametrize(
    ("event", "error", "message"),
    [
        ("raise", OSError, "the simulator died"),
        ("panic", EnvironmentExit, "raised Panic: in Rust"),
        ("nan observation", RuntimeError, "Probe-v0: the observation has 4 numbers, 3 of them fin"),
        ("nan reward", RuntimeError, "Probe-v0: the environment returned the reward nan"),
        ("huge reward", RuntimeError, "Probe-v0: the environment returned the reward -1e\\+39"),
    ],
)
def test_a_failing_environment_abandons_the_episode(probe, event, error, message):
    environment = Environment(probe(script={2: event}), _rng())
    environment.reset()
    environment.step([0, 0, 0])
    with pytest.raises(error, match=message):
        environment.step([0, 0, 0])
    assert environment.observation is None
    assert environment.state_dict()["actions"] is None
    environment.reset()
    environment.step([0, 0, 0])
    assert (environment.episode_return, environment.episode_length) == (0.5, 1)


@pytest.mark.parametrize("env_id", RESTORABLE)
def test_restored_mid_episode_the_future_is_the_same(env_id):
    """In an environment that is new, and in one that has played other episodes before."""
    original = Environment(env_id, _rng(1))
    actions = _rng(2)
    _play(original, actions, 230)  # also past Pendulum's time limit
    while original.observation is None or original.episode_length < 4:
        _play(original, actions, 1)
    state = original.state_dict()
    scalars = {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}
    arrays = {k: v.copy() for k, v in state.items() if isinstance(v, np.ndarray)}
    expected = [_bits(result) for result in _play(original, _rng(4), 300)]
    for played_before in (0, 150):
        restored = Environment(env_id, _rng(99))
        _play(restored, _rng(5), played_before)
        restored.load_state_dict({**json.loads(json.dumps(scalars)), **arrays})
        np.testing.assert_array_equal(restored.observation, state["observation"])
        assert restored.episode_length == state["episode_length"] >= 4
        assert [_bits(result) for result in _play(restored, _rng(4), 300)] == expected
        assert restored.episode_return == original.episode_return


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "LunarLanderContinuous-v3"])
def test_reset_leaves_nothing_of_earlier_episodes(env_id):
    used, fresh = Environment(env_id, _rng(1)), Environment(env_id, _rng(2))
    _play(used, _rng(3), 400)
    used.abandon_episode()
    used.rng = _rng(2)
    first, second = _play(used, _rng(6), 200), _play(fresh, _rng(6), 200)
    assert [_bits(result) for result in first] == [_bits(result) for result in second]


def test_saving_between_episodes(probe):
    environment = Environment(probe(script={4: "terminate"}), _rng(1))
    _play(environment, _rng(), 4)
    state = environment.state_dict()
    assert (state["seed"], state["actions"], state["observation"]) == (None, None, None)
    restored = Environment("Probe-v0", _rng(2))
    restored.reset()
    restored.load_state_dict(state)
    assert restored.observation is None
    assert (restored.episode_return, restored.episode_length) == (2.0, 4)
    np.testing.assert_array_equal(restored.reset(), environment.reset())


def test_saving_right_after_reset(probe):
    environment = Environment(probe(), _rng(1))
    observation = environment.reset()
    state = environment.state_dict()
    assert state["actions"].shape == (0, 3)
    restored = Environment("Probe-v0", _rng(2))
    restored.load_state_dict(state)
    np.testing.assert_array_equal(restored.observation, observation)


def test_saved_state_does_not_follow_the_episode(probe):
    environment = Environment(probe(), _rng(1))
    environment.reset()
    environment.step([0.1, 0.2, 0.3])
    state = environment.state_dict()
    observation, rng = state["observation"].copy(), dict(state["rng"])
    environment.step([0, 0, 0])
    environment.reset()
    np.testing.assert_array_equal(state["actions"], np.float32([[0.1, 0.2, 0.3]]))
    np.testing.assert_array_equal(state["observation"], observation)
    assert state["rng"] == rng


def _tampered_return(state: dict[str, Any]) -> None:
    state["episode_return"] += 0.25


def _tampered_observation(state: dict[str, Any]) -> None:
    state["observation"][3] = np.nextafter(state["observation"][3], np.float32(9))


@pytest.mark.parametrize("tamper", [_tampered_return, _tampered_observation])
def test_one_bit_of_difference_is_reported(probe, tamper):
    environment = Environment(probe(), _rng(1))
    _play(environment, _rng(), 5)
    state = environment.state_dict()
    tamper(state)
    with pytest.raises(EpisodeNotReproducible, match=r"Probe-v0: 5 steps from seed .* differs"):
        Environment("Probe-v0", _rng()).load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"resets_leave_traces": True}, "observation differs"),
        ({"script": {5: "terminate"}}, "the replayed episode is over"),
        ({"script": {3: "truncate"}}, "step called between episodes"),
        ({"script": {2: "raise"}}, "the simulator died"),
    ],
)
def test_an_environment_that_does_not_repeat_itself(probe, change, reason):
    """Typed error; the next episode is the one that would have come next anyway."""
    environment = Environment(probe(), _rng(1))
    _play(environment, _rng(), 5)
    state = environment.state_dict()
    environment.reset()
    seed_after = Probe.seeds[-1]
    probe(**change)
    restored = Environment("Probe-v0", _rng(2))
    _play(restored, _rng(), 1)
    with pytest.raises(EpisodeNotReproducible, match=f"^Probe-v0: 5 steps from seed .*{reason}"):
        restored.load_state_dict(state)
    assert restored.observation is None
    restored.reset()
    assert Probe.seeds[-1] == seed_after


def test_another_environments_state_is_refused(probe):
    environment = Environment(probe(), _rng())
    state = {**environment.state_dict(), "env_id": "Hopper-v5"}
    with pytest.raises(ValueError, match="env_id: got 'Hopper-v5', allowed: Probe-v0"):
        environment.load_state_dict(state)
