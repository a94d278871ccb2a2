"""Agents that an evolved loss trains, and the evolution of a loss on a small problem."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from metagenrl.baselines.epg.agent import EpgAgent
from metagenrl.baselines.epg.inner_loop import InnerLoop, run_inner_loop
from metagenrl.baselines.epg.loss_net import LossNet, initial_loss_parameters
from metagenrl.baselines.epg.outer_loop import LossEvolution
from metagenrl.runs.config.epg_config import EpgConfig, EvolutionConfig

TARGET = 0.7
STEPS = 8


class Reach(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """The reward of every step is -(a - 0.7)^2; the observation says nothing."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, **_: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self.steps = 0
        return np.ones(1, np.float32), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.steps += 1
        reward = -float((action[0] - TARGET) ** 2)
        return np.ones(1, np.float32), reward, self.steps == STEPS, False, {}


@pytest.fixture(autouse=True)
def reach() -> str:
    """The environment's identifier."""
    if "EpgReach-v0" not in gymnasium.registry:
        gymnasium.register("EpgReach-v0", entry_point=Reach)
    return "EpgReach-v0"


SMALL = EpgConfig(
    pad_observations=1, pad_actions=1, policy_units=8, memory_units=4, update_every=8,
    buffer_size=24, minibatch_size=8, inner_learning_rate=0.03,
)  # fmt: skip
PENDULUM = EpgConfig(
    pad_observations=5, pad_actions=2, policy_units=8, memory_units=4, update_every=8,
    buffer_size=24, minibatch_size=4,
)  # fmt: skip


def loss_parameters(config: EpgConfig, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return initial_loss_parameters(LossNet(config.features), generator)


def trained(ppo_weight: float, steps: int) -> EpgAgent:
    agent = EpgAgent(PENDULUM, "Pendulum-v1", 0, loss_parameters(PENDULUM), ppo_weight)
    for _ in range(steps):
        agent.step()
    return agent


@pytest.mark.parametrize("seed", range(3))
def test_the_meta_objective_rises_over_the_generations(reach: str, seed: int) -> None:
    """A policy that is not trained scores -0.49 a step, the best 0.

    Of evolved losses the last three generations must score above -0.2 on average, and lose less
    than half of what the first three lost.
    """
    config = EvolutionConfig(
        generations=15, noise_vectors=12, sigma=0.1, learning_rate=0.05, ppo_share=0.0
    )
    evolution = LossEvolution(config, loss_parameters(SMALL, seed), seed)
    means = []
    while evolution.generation < config.generations:
        fitness = [
            run_inner_loop(
                InnerLoop(SMALL, reach, evolution.agent_seed(i), phi, 0.0, updates=6, episodes=1)
            ).fitness
            for i, phi in enumerate(evolution.perturbed())
        ]
        means.append(np.mean(fitness) / STEPS)
        evolution.update(fitness, [reach] * len(fitness))
    assert np.mean(means[-3:]) > -0.2
    assert np.mean(means[-3:]) > 0.5 * np.mean(means[:3])


def test_the_ppo_loss_alone_trains_a_policy(reach: str) -> None:
    agent = EpgAgent(SMALL, reach, 0, loss_parameters(SMALL), ppo_weight=1.0)
    before = agent.evaluate(1)[0].undiscounted_return / STEPS
    assert before == pytest.approx(-0.49, abs=0.02)
    for _ in range(1_500):
        agent.step()
    assert agent.evaluate(1)[0].undiscounted_return / STEPS > -0.1


def test_the_loss_moves_policy_and_memory_and_ppo_the_value_function_too() -> None:
    start = trained(0.0, 0).theta.clone()
    for weight, moved in ((0.0, False), (0.5, True)):
        agent = trained(weight, 16)
        views = agent.nets.layout.views(agent.theta)
        before = agent.nets.layout.views(start)
        changed = {name: not torch.equal(views[name], before[name]) for name in views}
        assert changed["policy_w0"]
        assert changed["memory_w"]
        assert changed["value_w0"] == moved
    # The evolved loss decides: another one leads elsewhere, unless its weight is 0.
    for weight, same in ((0.0, False), (1.0, True)):
        other = EpgAgent(PENDULUM, "Pendulum-v1", 0, loss_parameters(PENDULUM, 1), weight)
        for _ in range(16):
            other.step()
        mine = trained(weight, 16)
        policy = [name for name in mine.nets.layout.views(start) if name.startswith("policy")]
        equal = [
            torch.equal(
                a.nets.layout.views(a.theta)[name], mine.nets.layout.views(mine.theta)[name]
            )
            for a in (other,)
            for name in policy
        ]
        assert all(equal) == same


def test_updates_come_every_few_steps() -> None:
    agent = trained(0.0, 7)
    start = agent.theta.clone()
    assert agent.adam.t == 0
    agent.step()
    assert agent.adam.t == 2  # 8 steps in minibatches of 4
    assert not torch.equal(agent.theta, start)


def test_a_restored_agent_goes_on_to_the_same_bits() -> None:
    through = trained(0.3, 230)  # an episode ends at step 200; the buffer holds 24
    stopped = trained(0.3, 203)  # in the middle of a window and of an episode
    restored = EpgAgent(PENDULUM, "Pendulum-v1", 0, loss_parameters(PENDULUM), 0.3)
    restored.load_state_dict(stopped.state_dict())
    ends = [restored.step() for _ in range(27)]
    assert ends == [None] * 27
    assert restored.steps == through.steps
    assert torch.equal(restored.theta, through.theta)
    assert restored.evaluate(1) == through.evaluate(1)


def test_a_dropped_episode_ends_in_the_experience() -> None:
    """The state of an episode that cannot be replayed: its newest step was its last."""
    state = trained(0.0, 16).state_dict()
    state["environment"]["environment"]["observation"] = np.zeros(3, np.float32)
    restored = EpgAgent(PENDULUM, "Pendulum-v1", 0, loss_parameters(PENDULUM))
    restored.load_state_dict(state)
    assert restored.environment.observation is None
    assert restored.experience.window().ended.tolist() == [0.0] * 15 + [1.0]


def test_an_environment_beyond_the_padding_is_refused() -> None:
    with pytest.raises(ValueError, match=r"env: got 'Pendulum-v1' \(3 observations, 1 actions\)"):
        EpgAgent(SMALL, "Pendulum-v1", 0, loss_parameters(SMALL))


def test_a_loss_that_destroys_the_policy_is_the_worst_of_all(reach: str) -> None:
    phi = torch.full((LossNet(SMALL.features).layout.size,), 1e19)
    agent = EpgAgent(SMALL, reach, 0, phi)
    for _ in range(16):
        agent.step()
    assert agent.skipped_updates == 2  # gradients that are not finite leave the policy as it was
    wild = EpgConfig(**{**vars(SMALL), "inner_learning_rate": 1e30})
    loop = InnerLoop(wild, reach, 0, loss_parameters(wild).numpy(), 0.0, updates=4, episodes=1)
    result = run_inner_loop(loop)
    assert result.fitness == -np.inf
    assert result.last_return is None
