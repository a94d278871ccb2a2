"""Replay buffer that is sampled in trajectory segments (section 2).

Differs from the authors' code, which samples uniformly over completed episodes: here every
stored step, the running episode's included, is equally likely to start a segment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metagenrl.agents.experience import checked
from metagenrl.agents.experience.segments import Draw, Segments
from metagenrl.base.checks import require, whole_number
from metagenrl.learner.native import library
from metagenrl.learner.types import Array


@dataclass(frozen=True, eq=False)
class Minibatch:
    """Segments that were drawn from a buffer, not put together yet; read before its next step.

    A backend on the CPU reads the segments, one with a copy of the buffer their places alone.
    """

    buffer: ReplayBuffer
    starts: NDArray[np.int64]  # [B], ages of the steps that segments start at
    length: int  # T

    def segments(self) -> Segments:
        """The drawn steps, padded with zeros."""
        return self.buffer.segments(self.starts, self.length)

    def places(self) -> Draw:
        """Rows and lengths of the segments in the buffer's ring."""
        return self.buffer.places(self.starts, self.length)


class ReplayBuffer:
    """Ring of the newest `capacity` steps of one agent.

    Consecutive calls of `add` are consecutive steps of an episode, until one is `terminated` or
    `truncated` or `end_episode` is called. Steps are addressed by age, 0 being the oldest, so
    nothing that is sampled depends on where the write head stands. Memory is touched only as
    the ring fills: a large capacity costs nothing at first.
    """

    def __init__(self, capacity: int, observation_size: int, action_size: int) -> None:
        """Raises `ValueError` where one of the sizes is below 1."""
        capacity = whole_number("capacity", capacity, 1)
        observation_size = whole_number("observation_size", observation_size, 1)
        action_size = whole_number("action_size", action_size, 1)
        self.capacity = capacity
        self.observation_size = observation_size
        self.action_size = action_size
        self._observations: Array = np.zeros((capacity, observation_size), np.float32)
        self._actions: Array = np.zeros((capacity, action_size), np.float32)
        self._rewards: Array = np.zeros(capacity, np.float32)
        self._next_observations: Array = np.zeros((capacity, observation_size), np.float32)
        self._terminated: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self._ends: NDArray[np.bool_] = np.zeros(capacity, np.bool_)  # no step follows this one
        self._size = 0
        self._head = 0  # where the next step goes; once full, also the oldest step
        self.added = 0  # steps that `add` stored in all

    def __len__(self) -> int:
        """Stored steps, each of which can start a segment."""
        return self._size

    def add(
        self,
        observation: ArrayLike,  # [O]
        action: ArrayLike,  # [A], in [-1, 1]
        reward: float,
        next_observation: ArrayLike,  # [O]
        terminated: bool,
        truncated: bool,
    ) -> None:
        """Store one step over the oldest one.

        Within an episode `observation` is the previous call's `next_observation`. Raises
        `ValueError` on a wrong shape, a value that is not finite or an action outside of [-1, 1],
        before anything is stored.
        """
        s = checked.row("observation", observation, self.observation_size)
        a = checked.row("action", action, self.action_size, 1.0)
        r = checked.number("reward", reward)
        after = checked.row("next_observation", next_observation, self.observation_size)
        terminal = checked.flag("terminated", terminated)
        ended = checked.flag("truncated", truncated) or terminal
        head = self._head
        self._observations[head] = s
        self._actions[head] = a
        self._rewards[head] = r
        self._next_observations[head] = after
        self._terminated[head] = terminal
        self._ends[head] = ended
        self._head = (head + 1) % self.capacity
        self._size = min(self._size + 1, self.capacity)
        self.added += 1

    def end_episode(self) -> None:
        """The next step starts another episode, although the newest one ended nothing.

        For an episode that is dropped midway: a segment stops at its last step, whose value is
        bootstrapped as after a time limit. Does nothing on an empty buffer.
        """
        if self._size:
            self._ends[self._head - 1] = True

    def sample(self, rng: np.random.Generator, segments: int, length: int) -> Segments:
        """The segments of `minibatch`; raises as it does."""
        return self.minibatch(rng, segments, length).segments()

    def minibatch(self, rng: np.random.Generator, segments: int, length: int) -> Minibatch:
        """Segments of up to `length` steps whose starts are uniform, without replacement.

        Raises `ValueError` for more segments than stored steps.
        """
        length = whole_number("length", length, 1)
        return Minibatch(self, self._starts(rng, segments), length)

    def segments(self, starts: NDArray[np.int64], length: int) -> Segments:
        """The segments that begin at steps of these ages `[B]`."""
        segments = len(starts)
        found = Segments(
            np.empty((segments, length + 1, self.observation_size), np.float32),
            np.empty((segments, length, self.action_size), np.float32),
            *(np.empty((segments, length), np.float32) for _ in range(3)),
        )
        arrays = found.observations, found.actions, found.rewards, found.terminated, found.mask
        places = [array.ctypes.data for array in (starts, *arrays)]
        if library.gather(self._ring(), segments, length, *places):
            return found
        return self.gather(self.places(starts, length), length)

    def _ring(self) -> library.Ring:
        arrays = (
            self._observations, self._actions, self._rewards, self._next_observations,
            self._terminated, self._ends,
        )  # fmt: skip
        return library.Ring(
            self.capacity, self._size, self._oldest(), self.observation_size, self.action_size,
            *(array.ctypes.data for array in arrays),
        )  # fmt: skip

    def draw(self, rng: np.random.Generator, segments: int, length: int) -> Draw:
        """Segments of up to `length` steps whose starts are uniform, without replacement.

        A segment goes on until `length` steps, its episode's end or the newest stored step. Time
        and memory are O(segments * length), whatever the buffer's size. Raises `ValueError` for
        more segments than stored steps.
        """
        length = whole_number("length", length, 1)
        return self.places(self._starts(rng, segments), length)

    def _starts(self, rng: np.random.Generator, segments: int) -> NDArray[np.int64]:
        """Ages of the steps that segments start at, `[B]`."""
        allowed = f"1 to {self._size} (stored)" if self._size else "a buffer with steps in it"
        segments = whole_number("segments", segments, 1, allowed)
        require(segments <= self._size, "segments", segments, allowed)
        generators = np.random.Generator, np.random.RandomState
        require(isinstance(rng, generators), "rng", rng, "numpy.random.default_rng(SEED)")
        # Shuffled, because without it numpy draws a uniform set in a biased order: the newest
        # steps would turn up only in the last of the minibatches.
        return rng.choice(self._size, segments, replace=False)

    def places(self, starts: NDArray[np.int64], length: int) -> Draw:
        """Where the segments that begin at steps of these ages `[B]` stand in the ring."""
        first = (starts + self._oldest()) % self.capacity  # [B]
        ended = np.logical_or.accumulate(self._ends[self._rows(first, length)], axis=1)  # [B, T]
        until_end = 1 + (~ended[:, :-1]).sum(axis=1)
        return Draw(first, np.minimum(until_end, self._size - starts))

    def _rows(self, first: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        return (first[:, None] + np.arange(length)) % self.capacity  # [B, T]

    def gather(self, draw: Draw, length: int) -> Segments:
        """The drawn steps, padded with zeros to `length`."""
        rows = self._rows(draw.first, length)
        valid = np.arange(length) < draw.steps[:, None]  # [B, T]
        observations = np.empty((*rows.shape[:1], length + 1, self.observation_size), np.float32)
        observations[:, 0] = self._observations[rows[:, 0]]
        observations[:, 1:] = self._next_observations[rows]
        actions = self._actions[rows]  # [B, T, A]
        padding = ~valid
        observations[:, 1:][padding] = 0.0
        actions[padding] = 0.0
        return Segments(
            observations,
            actions,
            np.where(valid, self._rewards[rows], np.float32(0.0)),
            (self._terminated[rows] & valid).astype(np.float32),
            valid.astype(np.float32),
        )

    @property
    def newest(self) -> int:
        """The row of the ring that the last call of `add` wrote to."""
        return (self._head - 1) % self.capacity

    def packed(self, rows: slice | NDArray[np.int64]) -> Array:
        """Steps side by side, `[n, 2 O + A + 2]`: s_t, s_{t+1}, a_t, r_t, terminated_t."""
        parts = (self._observations, self._next_observations, self._actions)
        ends = (self._rewards, self._terminated)
        columns = [*(x[rows] for x in parts), *(x[rows, None].astype(np.float32) for x in ends)]
        together: Array = np.concatenate(columns, axis=1)
        return together

    def state_dict(self) -> dict[str, Any]:
        """A copy of the stored steps, oldest first, and the sizes they belong to.

        The write head is left out: sampling goes by age, so a restored buffer gives the same
        segments as this one for the same generator.
        """
        rows = (self._oldest() + np.arange(self._size)) % self.capacity
        arrays = {name: array[rows] for name, array in self._arrays().items()}
        return {"capacity": self.capacity, **arrays}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace the contents by those of another buffer's `state_dict`.

        Raises `ValueError`, and leaves the buffer as it was, where the sizes differ.
        """
        saved = state["capacity"]
        require(saved == self.capacity, "capacity", saved, str(self.capacity))
        size = len(state["rewards"])
        require(size <= self.capacity, "rewards", size, f"up to {self.capacity} steps")
        for name, array in self._arrays().items():
            wanted = (size, *array.shape[1:])
            require(state[name].shape == wanted, name, state[name].shape, f"shape {wanted}")
        for name, array in self._arrays().items():
            array[:size] = state[name]
        self._size = size
        self._head = size % self.capacity

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """Every array of the ring by the name it is saved under."""
        return {
            "observations": self._observations,
            "actions": self._actions,
            "rewards": self._rewards,
            "next_observations": self._next_observations,
            "terminated": self._terminated,
            "ends": self._ends,
        }

    def _oldest(self) -> int:
        """Where the step of age 0 stands."""
        return (self._head - self._size) % self.capacity
