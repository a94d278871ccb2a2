"""Minibatches that are put together on the device are those of the agents' own buffers."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from metagenrl.agents.backend.device_replay import DeviceReplay, chunks
from metagenrl.agents.experience.replay import ReplayBuffer

CAPACITY, SEGMENTS, LENGTH = 40, 6, 5
SIZES = (3, 2)


def _step(buffer: ReplayBuffer, rng: np.random.Generator) -> None:
    s, s_next, a = rng.normal(size=3), rng.normal(size=3), rng.uniform(-1, 1, 2)
    ending = rng.random()
    buffer.add(s, a, rng.normal(), s_next, ending < 0.1, 0.1 <= ending < 0.2)


def _same(replay: DeviceReplay, buffers: dict[int, ReplayBuffer], seed: int) -> None:
    draws = {
        slot: buffer.draw(np.random.default_rng(seed), SEGMENTS, LENGTH)
        for slot, buffer in buffers.items()
    }
    got = replay.gather(draws, SEGMENTS, LENGTH)
    for slot, buffer in buffers.items():
        want = buffer.gather(draws[slot], LENGTH).batch()
        for field in fields(want):
            mine = getattr(got, field.name)[slot]
            assert torch.equal(mine, getattr(want, field.name)), (slot, field.name)


@pytest.mark.parametrize("room", [2, 1024])
def test_follows_rings_that_fill_wrap_and_are_replaced(monkeypatch, room):
    monkeypatch.setattr("metagenrl.agents.backend.device_replay._FIRST_ROWS", room)
    replay = DeviceReplay(3, CAPACITY, SIZES, torch.device("cpu"))
    rng = np.random.default_rng(0)
    buffers = {slot: ReplayBuffer(CAPACITY, *SIZES) for slot in (0, 2)}
    for i in range(3 * CAPACITY):
        chosen = {slot: b for slot, b in buffers.items() if slot == 2 or i % 3}
        for buffer in chosen.values():
            _step(buffer, rng)
        replay.follow(chosen)
        if i > 10:
            _same(replay, buffers, i)
    saved = buffers[2].state_dict()
    buffers[2] = ReplayBuffer(CAPACITY, *SIZES)
    buffers[2].load_state_dict(saved)
    replay.follow({2: buffers[2]})
    _same(replay, buffers, 0)


def test_a_slot_that_draws_nothing_is_all_padding():
    replay = DeviceReplay(2, CAPACITY, SIZES, torch.device("cpu"))
    buffer, rng = ReplayBuffer(CAPACITY, *SIZES), np.random.default_rng(0)
    for _ in range(10):
        _step(buffer, rng)
    replay.follow({0: buffer, 1: buffer})
    batch = replay.gather({1: buffer.draw(rng, SEGMENTS, LENGTH)}, SEGMENTS, LENGTH)
    for field in fields(batch):
        assert not getattr(batch, field.name)[0].any()
        assert field.name == "terminated" or getattr(batch, field.name)[1].any()


def test_halves_are_the_minibatches_that_a_member_splits_its_sample_into():
    replay = DeviceReplay(1, CAPACITY, SIZES, torch.device("cpu"))
    buffer, rng = ReplayBuffer(CAPACITY, *SIZES), np.random.default_rng(0)
    for _ in range(30):
        _step(buffer, rng)
    replay.follow({0: buffer})
    draw = buffer.draw(rng, SEGMENTS, LENGTH)
    want = buffer.gather(draw, LENGTH).split(2)
    for mine, other in zip(
        chunks(replay.gather({0: draw}, SEGMENTS, LENGTH), 2), want, strict=True
    ):
        for field in fields(other):
            assert torch.equal(getattr(mine, field.name)[0], getattr(other, field.name))
