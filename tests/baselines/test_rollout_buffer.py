"""A rollout's episodes as segments, and GAE over them, by hand."""

import numpy as np
import torch

from metagenrl.agents.environment.environment import StepResult
from metagenrl.baselines.rollout_buffer import RolloutBuffer
from metagenrl.learner.returns import generalized_advantage


def _filled():
    """Two steps to a time limit, two to a terminal state, one of an episode in progress."""
    buffer = RolloutBuffer(5, 1, 2)
    ends = [(False, False), (False, True), (False, False), (True, False), (False, False)]
    for i, (terminated, truncated) in enumerate(ends):
        result = StepResult(np.float32([10 * i + 1]), float(i), terminated, truncated)
        buffer.add(np.float32([10 * i]), np.float32([i, -i]), float(i), result)
    return buffer


def test_episodes_become_segments_with_padding_at_their_ends():
    buffer = _filled()
    assert buffer.full
    s = buffer.segments()
    assert s.mask.tolist() == [[1, 1], [1, 1], [1, 0]]
    assert s.rewards.tolist() == [[0, 1], [2, 3], [4, 0]]
    assert s.observations.squeeze(-1).tolist() == [[0, 10], [20, 30], [40, 0]]
    assert s.next_observations.squeeze(-1).tolist() == [[1, 11], [21, 31], [41, 0]]
    assert s.actions[2].tolist() == [[4, -4], [0, 0]]
    assert s.terminated.tolist() == [[0, 0], [0, 1], [0, 0]]


def test_advantages_of_a_rollout_by_hand():
    """gamma = lambda = 1/2, V = 2 everywhere: delta = r + 1 - 2, and r - 2 at the terminal state.

    The time limit and the rollout's end bootstrap, the terminal state does not, and nothing
    flows from one episode into the one before.
    """
    s = _filled().segments()
    v = torch.full_like(s.rewards, 2.0)
    got = generalized_advantage(s.rewards, v, v, s.terminated, s.mask, 0.5, 0.5)
    assert got.tolist() == [[-1 + 0, 0], [1 + 0.25, 1], [3, 0]]


def test_a_rollout_that_ends_with_its_episode_has_no_empty_segment():
    buffer = RolloutBuffer(4, 1, 1)
    for last in (False, True):
        buffer.add(np.zeros(1, np.float32), np.zeros(1, np.float32), 1.0,
                   StepResult(np.zeros(1, np.float32), 1.0, last, False))  # fmt: skip
    assert not buffer.full
    assert buffer.segments().mask.tolist() == [[1, 1]]
    buffer.clear()
    assert buffer.size == 0


def test_state_is_the_steps_that_are_there():
    buffer, other = _filled(), RolloutBuffer(5, 1, 2)
    buffer.size = 3
    other.load_state_dict(buffer.state_dict())
    assert other.size == 3
    assert torch.equal(other.segments().rewards, buffer.segments().rewards)
    assert torch.equal(other.segments().actions, buffer.segments().actions)
