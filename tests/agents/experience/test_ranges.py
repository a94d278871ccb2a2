"""Lives in an environment whose arguments are ranges, and resuming in the middle of them."""

import numpy as np

from metagenrl.agents.experience.rollout import Rollout
from metagenrl.agents.seeding import agent_seeds
from metagenrl.learner.hyperparams import AgentConfig

TEXT = 'Pendulum-v1(g={"uniform": [6, 12]})'


def rollout(incarnation: int = 0) -> Rollout:
    config = AgentConfig(random_steps=10_000)
    return Rollout(TEXT, config, agent_seeds(3, 1, incarnation), ranges=(3, 1))


def rewards(one: Rollout, steps: int) -> list[float]:
    for _ in range(steps):
        one.step(lambda s: np.zeros(1, np.float32))
    return [float(r) for r in one.buffer.state_dict()["rewards"]]


def test_each_life_meets_another_environment_and_resumes_to_the_bit() -> None:
    first, second = rollout(), rollout(1)
    met = [first.drawn]
    for life in (1, 2):
        rewards(first, 20)
        first.restart(10_000, life)
        met.append(first.drawn)
    assert len(set(met)) == 3
    assert met[0] == second.drawn, "a function of seed, agent and life alone"
    rewards(first, 30)
    second.load_state_dict(first.state_dict())
    assert second.drawn == met[2]
    assert second.environment.observation is not None, "the running episode was replayed"
    assert rewards(first, 250) == rewards(second, 250)
    for one in (first, second):
        one.restart(10_000, 3)
    assert first.drawn == second.drawn
    assert rewards(first, 30) == rewards(second, 30)
