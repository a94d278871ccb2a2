"""Segments of the replay buffer against a list of steps and a loop.

Observations are (episode, step), so that each sampled number says where it comes from.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import fields

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metagenrl.agents.experience.replay import ReplayBuffer
from metagenrl.agents.experience.segments import Segments
from metagenrl.learner.native import library
from metagenrl.learner.types import Batch

TERMINATED, TRUNCATED, DROPPED, RUNNING = "terminated", "truncated", "dropped", "running"


class Recorder:
    """Fills a buffer and, as a plain list of the newest steps, its reference."""

    def __init__(self, capacity: int) -> None:
        self.buffer = ReplayBuffer(capacity, observation_size=2, action_size=3)
        self.steps: deque[dict] = deque(maxlen=capacity)
        self.episode = 0

    def add_episode(self, length: int, ending: str) -> None:
        self.episode += 1
        for step in range(1, length + 1):
            last = step == length
            self._add(step, last and ending == TERMINATED, last and ending == TRUNCATED)
        if ending == DROPPED:
            self.buffer.end_episode()
            if self.steps:
                self.steps[-1]["end"] = True

    def _add(self, step: int, terminated: bool, truncated: bool) -> None:
        here, there = np.float32([self.episode, step]), np.float32([self.episode, step + 1])
        action = np.float32([0.1, 0.2, 0.3]) / (step + self.episode)
        reward = self.episode * 1000 + step
        self.buffer.add(here, action, reward, there, terminated, truncated)
        self.steps.append(
            {
                "observation": here,
                "next_observation": there,
                "action": action,
                "reward": np.float32(reward),
                "terminated": np.float32(terminated),
                "end": terminated or truncated,
            }
        )

    def segment(self, start: int, length: int) -> Segments:
        """What a segment from the step of age `start` must be, one row."""
        observations, actions = np.zeros((length + 1, 2)), np.zeros((length, 3))
        rewards, terminated, mask = np.zeros(length), np.zeros(length), np.zeros(length)
        for t, step in enumerate(list(self.steps)[start : start + length]):
            observations[t], observations[t + 1] = step["observation"], step["next_observation"]
            actions[t], rewards[t], terminated[t] = (
                step["action"],
                step["reward"],
                step["terminated"],
            )
            mask[t] = 1.0
            if step["end"]:
                break
        return Segments(observations, actions, rewards, terminated, mask)

    def starts(self, sampled: Segments) -> list[int]:
        """The age of each row's first step."""
        ages = {tuple(step["observation"]): age for age, step in enumerate(self.steps)}
        return [ages[tuple(row[0])] for row in sampled.observations]

    def check(self, sampled: Segments, length: int) -> list[int]:
        """Every row equals the reference's segment from the same start; returns the starts."""
        starts = self.starts(sampled)
        for row, start in enumerate(starts):
            expected = self.segment(start, length)
            for field in fields(Segments):
                actual = getattr(sampled, field.name)
                assert actual.dtype == np.float32
                np.testing.assert_array_equal(
                    actual[row], getattr(expected, field.name).astype(np.float32), field.name
                )
        return starts


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _filled(capacity: int = 50) -> Recorder:
    recorder = Recorder(capacity)
    for length, ending in ((7, TERMINATED), (1, TERMINATED), (12, TRUNCATED), (5, DROPPED)):
        recorder.add_episode(length, ending)
    recorder.add_episode(9, RUNNING)
    return recorder


def _rows(sampled: Segments) -> dict[tuple[float, ...], int]:
    return {tuple(row[0]): index for index, row in enumerate(sampled.observations)}


def _equal(first: Segments, second: Segments) -> bool:
    names = [field.name for field in fields(Segments)]
    return all(np.array_equal(getattr(first, n), getattr(second, n)) for n in names)


def test_segment_computed_by_hand():
    """Three steps, terminal at the third, in segments of five."""
    buffer = ReplayBuffer(10, 1, 1)
    for step, terminal in ((1, False), (2, False), (3, True)):
        buffer.add([step], [step / 10], step * 100, [step + 1], terminal, False)
    sampled = buffer.sample(_rng(), 3, 5)
    row = _rows(sampled)[(2.0,)]
    np.testing.assert_array_equal(sampled.observations[row, :, 0], [2, 3, 4, 0, 0, 0])
    np.testing.assert_array_equal(sampled.actions[row, :, 0], np.float32([0.2, 0.3, 0, 0, 0]))
    np.testing.assert_array_equal(sampled.rewards[row], [200, 300, 0, 0, 0])
    np.testing.assert_array_equal(sampled.terminated[row], [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(sampled.mask[row], [1, 1, 0, 0, 0])


def test_sampling_as_many_as_stored_gives_every_segment_once():
    recorder = _filled()
    assert len(recorder.buffer) == 34
    starts = recorder.check(recorder.buffer.sample(_rng(), 34, 6), 6)
    assert sorted(starts) == list(range(34))


def test_truncation_ends_the_segment_without_terminating():
    recorder = Recorder(50)
    recorder.add_episode(3, TRUNCATED)
    recorder.add_episode(3, TERMINATED)
    sampled = recorder.buffer.sample(_rng(), 6, 5)
    rows = _rows(sampled)
    for episode, last in ((1, 0.0), (2, 1.0)):
        row = rows[(episode, 1)]
        np.testing.assert_array_equal(sampled.mask[row], [1, 1, 1, 0, 0])
        np.testing.assert_array_equal(sampled.terminated[row], [0, 0, last, 0, 0])
        # The state that the last step led to is there, the next episode's is not.
        np.testing.assert_array_equal(sampled.observations[row, 3], [episode, 4])
        np.testing.assert_array_equal(sampled.observations[row, 4:], 0)


@pytest.mark.parametrize("capacity", [50, 20])
@pytest.mark.parametrize("length", [1, 6, 40])
def test_in_numpy_they_are_the_same(capacity, length, monkeypatch):
    """`sample` is one C call where there is a library, `draw` and `gather` never are."""
    buffer = _filled(capacity).buffer
    sampled = buffer.sample(_rng(), 15, length)
    assert _equal(sampled, buffer.gather(buffer.draw(_rng(), 15, length), length))
    monkeypatch.setattr(library, "_LIBRARY", None)
    assert _equal(sampled, buffer.sample(_rng(), 15, length))


def test_a_dropped_episode_ends_at_its_newest_step():
    recorder = Recorder(50)
    recorder.buffer.end_episode()  # before the first step: nothing to end
    recorder.add_episode(3, DROPPED)
    recorder.buffer.end_episode()  # twice is once
    recorder.add_episode(4, RUNNING)
    sampled = recorder.buffer.sample(_rng(), 7, 5)
    recorder.check(sampled, 5)
    row = _rows(sampled)[(1, 2)]
    np.testing.assert_array_equal(sampled.mask[row], [1, 1, 0, 0, 0])
    assert sampled.terminated.sum() == 0


def test_dropping_right_after_the_ring_wrapped_ends_the_newest_step():
    recorder = Recorder(4)
    recorder.add_episode(4, DROPPED)  # the write head is back at the first row
    recorder.add_episode(2, RUNNING)
    assert sorted(recorder.check(recorder.buffer.sample(_rng(), 4, 4), 4)) == [0, 1, 2, 3]


def test_wrapped_ring_keeps_the_newest_and_never_crosses_the_write_head():
    recorder = Recorder(10)
    recorder.add_episode(8, RUNNING)
    recorder.add_episode(0, DROPPED)
    recorder.add_episode(6, RUNNING)  # steps 5-8 of episode 1 remain, without its beginning
    assert len(recorder.buffer) == 10
    sampled = recorder.buffer.sample(_rng(), 10, 20)
    assert sorted(recorder.check(sampled, 20)) == list(range(10))
    rows = _rows(sampled)
    np.testing.assert_array_equal(sampled.rewards[rows[(1, 5)]][:5], [1005, 1006, 1007, 1008, 0])
    np.testing.assert_array_equal(sampled.rewards[rows[(3, 5)]][:3], [3005, 3006, 0])


def test_a_running_episode_longer_than_the_ring():
    recorder = Recorder(8)
    recorder.add_episode(21, RUNNING)
    sampled = recorder.buffer.sample(_rng(), 8, 8)
    assert sorted(recorder.check(sampled, 8)) == list(range(8))
    np.testing.assert_array_equal(np.sort(sampled.mask.sum(1)), np.arange(1, 9))


@settings(deadline=None, max_examples=80)
@given(
    capacity=st.integers(1, 30),
    episodes=st.lists(
        st.tuples(st.integers(0, 15), st.sampled_from((TERMINATED, TRUNCATED, DROPPED))),
        max_size=8,
    ),
    running=st.integers(1, 15),
    length=st.integers(1, 12),
    seed=st.integers(0, 10),
)
def test_any_history_gives_exactly_the_reference_segments(
    capacity, episodes, running, length, seed
):
    recorder = Recorder(capacity)
    for steps, ending in episodes:
        recorder.add_episode(steps, ending)
    recorder.add_episode(running, RUNNING)
    size = len(recorder.buffer)
    assert size == len(recorder.steps)
    rng = _rng(seed)
    everything = recorder.check(recorder.buffer.sample(rng, size, length), length)
    assert sorted(everything) == list(range(size))
    some = recorder.check(recorder.buffer.sample(rng, (size + 1) // 2, length), length)
    assert len(set(some)) == (size + 1) // 2


def test_padding_is_zero_whatever_comes_after():
    buffer = ReplayBuffer(10, 1, 1)
    buffer.add([1], [1], 1, [2], False, True)
    buffer.add([3], [1], 1, [4], True, False)
    for name in ("observations", "actions", "rewards", "next_observations"):
        buffer._arrays()[name][1] = np.nan  # which 0 times a mask would keep
    sampled = buffer.sample(_rng(), 2, 4)
    row = _rows(sampled)[(1.0,)]
    np.testing.assert_array_equal(sampled.observations[row, :, 0], [1, 2, 0, 0, 0])
    for name in ("actions", "rewards", "terminated"):
        assert np.count_nonzero(getattr(sampled, name)[row][1:]) == 0, name


def _chi_square(counts: np.ndarray) -> float:
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2).sum() / expected)


@pytest.mark.parametrize("capacity", [34, 20], ids=["not wrapped", "wrapped"])
def test_starts_are_uniform_in_every_place_of_the_sample(capacity):
    """Uniform also in the first and the last minibatch alone, not only over all of them."""
    recorder = _filled(capacity)
    size, segments, draws, rng = capacity, 12, 3000, _rng(5)
    counts = np.zeros((segments, size))
    for _ in range(draws):
        starts = recorder.starts(recorder.buffer.sample(rng, segments, 1))
        counts[np.arange(segments), starts] += 1
    # Mean of chi-square is size - 1, its standard deviation sqrt(2 (size - 1)): 5 of them.
    bound = size - 1 + 5 * np.sqrt(2 * (size - 1))
    for place in counts:
        assert _chi_square(place) < bound
    assert _chi_square(counts.sum(0)) < bound


def test_large_buffers_are_sampled_uniformly_too():
    """Past 10 000 steps numpy draws by another method."""
    buffer = ReplayBuffer(20_000, 1, 1)
    for step in range(20_000):
        buffer.add([step], [0], 0, [step + 1], False, False)
    rng = _rng(3)
    firsts = [buffer.sample(rng, 64, 1).observations[:, 0, 0] for _ in range(300)]
    counts, _ = np.histogram(np.concatenate(firsts), bins=20, range=(0, 20_000))
    assert _chi_square(counts) < 19 + 5 * np.sqrt(38)
    assert all(len(set(first)) == 64 for first in firsts)


def test_split_gives_disjoint_minibatches_in_the_same_memory():
    recorder = _filled()
    sampled = recorder.buffer.sample(_rng(1), 30, 6)
    parts = sampled.split(3)
    assert [part.mask.shape for part in parts] == [(10, 6)] * 3
    starts = [{tuple(row[0].tolist()) for row in part.observations} for part in parts]
    assert len(set.union(*starts)) == 30
    for field in fields(Batch):
        tensors = [getattr(part, field.name) for part in parts]
        array = getattr(sampled, field.name)
        np.testing.assert_array_equal(torch.cat(tensors).numpy(), array)
        assert all(np.shares_memory(tensor.numpy(), array) for tensor in tensors)
        assert all(tensor.is_contiguous() and tensor.dtype == torch.float32 for tensor in tensors)


def test_batch_has_the_documented_shapes_and_shares_memory():
    sampled = _filled().buffer.sample(_rng(), 4, 6)
    batch = sampled.batch()
    shapes = {field.name: tuple(getattr(batch, field.name).shape) for field in fields(Batch)}
    assert shapes == {
        "observations": (4, 7, 2),
        "actions": (4, 6, 3),
        "rewards": (4, 6),
        "terminated": (4, 6),
        "mask": (4, 6),
    }
    assert np.shares_memory(batch.observations.numpy(), sampled.observations)


def test_samples_are_copies_of_the_ring():
    recorder = _filled()
    before = recorder.buffer.sample(_rng(2), 10, 6)
    kept = [getattr(before, field.name).copy() for field in fields(Segments)]
    recorder.add_episode(60, RUNNING)  # every row is written over
    for field, array in zip(fields(Segments), kept, strict=True):
        np.testing.assert_array_equal(getattr(before, field.name), array)


@pytest.mark.parametrize("capacity", [50, 34, 20], ids=["part full", "just full", "wrapped"])
def test_a_restored_buffer_has_the_same_future(capacity):
    original = _filled(capacity)
    state = original.buffer.state_dict()
    restored = Recorder(capacity)
    restored.add_episode(capacity + 3, RUNNING)  # other contents, another write head
    restored.buffer.load_state_dict(state)
    restored.steps, restored.episode = original.steps.copy(), original.episode
    rng, again = _rng(9), _rng(9)
    for _ in range(3):
        first, second = original.buffer.sample(rng, 15, 6), restored.buffer.sample(again, 15, 6)
        assert _equal(first, second)
        for recorder in (original, restored):  # beyond the point of saving
            recorder.add_episode(7, TRUNCATED)
            recorder.add_episode(4, RUNNING)
    assert rng.random() == again.random()


def test_saved_state_is_a_copy_of_the_filled_part_only():
    recorder = _filled(1000)
    state = recorder.buffer.state_dict()
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    assert {len(array) for array in arrays.values()} == {34}
    assert json.loads(json.dumps({k: v for k, v in state.items() if k not in arrays})) == {
        "capacity": 1000
    }
    np.testing.assert_array_equal(
        state["rewards"], [step["reward"] for step in recorder.steps]
    )  # oldest first
    expected = state["rewards"].copy()
    recorder.add_episode(1000, RUNNING)
    np.testing.assert_array_equal(state["rewards"], expected)


def test_an_empty_buffer_is_restored_empty():
    empty = ReplayBuffer(5, 2, 3).state_dict()
    recorder = Recorder(5)
    recorder.add_episode(9, RUNNING)
    recorder.buffer.load_state_dict(empty)
    assert len(recorder.buffer) == 0


def test_a_state_of_other_sizes_is_refused_and_changes_nothing():
    recorder = _filled()
    before = recorder.buffer.sample(_rng(), 34, 6)
    with pytest.raises(ValueError, match="capacity: got 40, allowed: 50"):
        recorder.buffer.load_state_dict(_filled(40).buffer.state_dict())
    wider = ReplayBuffer(50, 4, 3)
    wider.add([0] * 4, [0] * 3, 0, [0] * 4, False, False)
    with pytest.raises(ValueError, match=r"observations: got \(1, 4\), allowed: shape \(1, 2\)"):
        recorder.buffer.load_state_dict(wider.state_dict())
    assert _equal(before, recorder.buffer.sample(_rng(), 34, 6))


def test_more_segments_than_steps_is_an_error():
    recorder = _filled()
    with pytest.raises(ValueError, match=r"segments: got 35, allowed: 1 to 34 \(stored\)"):
        recorder.buffer.sample(_rng(), 35, 6)
    with pytest.raises(ValueError, match="segments: got 1, allowed: a buffer with steps in it"):
        ReplayBuffer(5, 2, 3).sample(_rng(), 1, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 1), "capacity: got 0, allowed: a whole number >= 1"),
        ((1, 0, 1), "observation_size: got 0, allowed: a whole number >= 1"),
        ((1, 1, 0), "action_size: got 0, allowed: a whole number >= 1"),
    ],
)
def test_sizes_must_be_positive(arguments, message):
    with pytest.raises(ValueError, match=message):
        ReplayBuffer(*arguments)


@pytest.mark.parametrize(
    ("observation", "action", "following", "message"),
    [
        ([1], [0, 0, 0], [1, 2], r"^observation: got \(1,\), allowed: shape \(2,\)"),
        ([1, 1], 0, [1, 2], r"^action: got \(\), allowed: shape \(3,\)"),
        ([1, 1], [0, 0, 0], [[1, 2]], r"^next_observation: got \(1, 2\), allowed: shape \(2,\)"),
    ],
)
def test_a_step_of_another_shape_is_refused_and_not_stored(observation, action, following, message):
    recorder = _filled()
    before = recorder.buffer.sample(_rng(), 34, 6)
    with pytest.raises(ValueError, match=message):
        recorder.buffer.add(observation, action, 0.0, following, False, False)
    assert _equal(before, recorder.buffer.sample(_rng(), 34, 6))


@pytest.mark.parametrize("reward", [1e39, -1e39, np.float64(1e300), np.inf, np.nan])
def test_a_reward_that_float32_cannot_hold_is_refused(reward):
    recorder = _filled()
    before = recorder.buffer.sample(_rng(), 34, 6)
    with pytest.raises(ValueError, match=r"^reward: got .*, allowed: one finite number \(float32"):
        recorder.buffer.add([1, 1], [0, 0, 0], reward, [1, 2], False, False)
    assert _equal(before, recorder.buffer.sample(_rng(), 34, 6))
    recorder.buffer.add([1, 1], [0, 0, 0], float(np.finfo(np.float32).max), [1, 2], False, False)


def test_other_requests_are_checked():
    sampled = _filled().buffer.sample(_rng(), 10, 6)
    for count in (0, 3):
        with pytest.raises(ValueError, match=f"count: got {count}, allowed: a divisor of 10"):
            sampled.split(count)
    with pytest.raises(ValueError, match="length: got 0, allowed: a whole number >= 1"):
        _filled().buffer.sample(_rng(), 1, 0)


def test_capacity_costs_no_memory_before_it_is_filled():
    process = psutil.Process()
    before = process.memory_info().rss
    buffer = ReplayBuffer(1_000_000, 100, 8)  # 0.8 GB once it is full
    for step in range(100):
        buffer.add(np.full(100, step), np.zeros(8), 0.0, np.full(100, step), False, False)
    buffer.sample(_rng(), 64, 20)
    assert process.memory_info().rss - before < 50e6
