"""A small environment with short episodes, one that raises on demand, and tiny agents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from metagenrl.agents.member import MemberConfig
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig
from metagenrl.learner.objective.net import initial_alpha

TIME_LIMIT = 9


class Walk(gymnasium.Env[Any, Any]):
    """A point that the action and noise push: terminal beyond 1.5, truncated after 9 steps."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-2.0, 1.0, (1,), np.float32)
        self.x, self.t = 0.0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.x, self.t = float(self.np_random.uniform(-1, 1)), 0
        return self._observation(), {}

    def step(self, action: Any) -> Any:
        self.x += 0.3 * float(action[0]) + 0.3 * float(self.np_random.normal())
        self.t += 1
        over = abs(self.x) > 1.5
        return self._observation(), 1.0 - self.x**2, over, self.t >= TIME_LIMIT and not over, {}

    def _observation(self) -> Any:
        return np.array([self.x, self.t], np.float32)


@dataclass
class Faults:
    """Which calls of `Flaky`, counted over all its episodes from 1, raise."""

    steps: set[int] = field(default_factory=set)
    resets: set[int] = field(default_factory=set)
    step_calls: int = 0
    reset_calls: int = 0
    always: bool = False


class Flaky(Walk):
    """`Walk` that breaks down; its observation (episode, t) says where a step belongs."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self.faults = faults

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.faults.reset_calls += 1
        if self.faults.always or self.faults.reset_calls in self.faults.resets:
            raise OSError(f"reset {self.faults.reset_calls} failed")
        return super().reset(seed=seed)

    def step(self, action: Any) -> Any:
        self.faults.step_calls += 1
        if self.faults.always or self.faults.step_calls in self.faults.steps:
            raise OSError(f"step {self.faults.step_calls} failed")
        self.x, self.t = 0.0, self.t + 1
        return self._observation(), 1.0, False, self.t >= TIME_LIMIT, {}

    def _observation(self) -> Any:
        return np.array([self.faults.reset_calls, self.t], np.float32)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """As an agent runs: at these sizes a second thread costs more than it does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def walk() -> Iterator[str]:
    """The identifier of `Walk`."""
    gymnasium.register("Walk-v0", entry_point=Walk)
    yield "Walk-v0"
    del gymnasium.registry["Walk-v0"]


@pytest.fixture
def faults() -> Iterator[Faults]:
    """`Flaky-v0` is registered and does what this says."""
    faults = Faults()
    gymnasium.register("Flaky-v0", entry_point=lambda: Flaky(faults))
    yield faults
    del gymnasium.registry["Flaky-v0"]


@pytest.fixture
def member_config(walk: str) -> Callable[..., MemberConfig]:
    """A tiny member in `Walk`; any field of its configurations can be given by name."""

    def make(**fields: Any) -> MemberConfig:
        agent = AgentConfig(
            hidden_units=6, segment_length=5, batch_size=4, random_steps=10, learning_starts=12,
            replay_capacity=60,
        )  # fmt: skip
        objective = ObjectiveConfig(lstm_units=4, hidden_units=4, input_features=3)
        config = MemberConfig("run", 0, 0, walk, 0, agent, MetaConfig(anneal_steps=40), objective)
        for name, part in (("agent", agent), ("meta", config.meta), ("objective", objective)):
            own = {key: fields.pop(key) for key in list(fields) if hasattr(part, key)}
            config = replace(config, **{name: replace(part, **own)})
        return replace(config, **fields)

    return make


@pytest.fixture
def alphas() -> Callable[[int], Any]:
    """The alpha of each version, for the objective of `member_config` or any of its size."""

    def make(version: int, config: ObjectiveConfig | None = None) -> Any:
        config = config or ObjectiveConfig(lstm_units=4, hidden_units=4, input_features=3)
        generator = torch.Generator().manual_seed(version)
        return initial_alpha(config, generator).numpy()

    return make
