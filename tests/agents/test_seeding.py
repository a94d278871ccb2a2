"""Seeds are a function of (run, agent, incarnation); generators survive JSON."""

from __future__ import annotations

import itertools
import json
from dataclasses import fields

import numpy as np
import pytest

from metagenrl.agents.seeding import agent_seeds, draw_torch_seed, restore_rng, rng_state

STREAMS = ("environment", "exploration", "replay", "initialisation", "archive")


def _fingerprints(run_seed: int, agent: int, incarnation: int) -> list[tuple[int, ...]]:
    seeds = agent_seeds(run_seed, agent, incarnation)
    drawn = [tuple(getattr(seeds, name).integers(2**62, size=2).tolist()) for name in STREAMS]
    return [*drawn, (seeds.torch_seed,)]


def test_every_field_is_covered_here():
    assert [field.name for field in fields(agent_seeds(0, 0, 0))] == [*STREAMS, "torch_seed"]


def test_same_arguments_give_the_same_streams():
    assert _fingerprints(7, 3, 1) == _fingerprints(7, 3, 1)


def test_streams_are_distinct_over_runs_agents_incarnations_and_purposes():
    arguments = list(itertools.product(range(3), range(4), range(3)))
    everything = [print_ for triple in arguments for print_ in _fingerprints(*triple)]
    assert len(set(everything)) == len(arguments) * 6


def test_streams_do_not_change_between_releases():
    """A checkpoint's run can be repeated from its seed only as long as these values hold."""
    seeds = agent_seeds(1, 2, 3)
    firsts = [int(getattr(seeds, name).integers(10**9)) for name in STREAMS]
    assert firsts == [78086932, 69629345, 757886872, 204361792, 453278896]
    assert seeds.torch_seed == 2236532565843014954


@pytest.mark.parametrize("arguments", [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (0.5, 0, 0)])
def test_bad_arguments_are_named(arguments):
    bad = ("seed", "agent", "incarnation")[[value in (-1, 0.5) for value in arguments].index(True)]
    with pytest.raises(ValueError, match=f"^{bad}: got .* an integer >= 0"):
        agent_seeds(*arguments)


def test_torch_seeds_fit_torch_and_follow_the_stream():
    first, second = np.random.default_rng(4), np.random.default_rng(4)
    drawn = [draw_torch_seed(first) for _ in range(100)]
    assert drawn == [draw_torch_seed(second) for _ in range(100)]
    assert len(set(drawn)) == 100
    assert all(0 <= seed < 2**63 for seed in drawn)
    assert max(drawn) > 2**62  # the whole range is used


def test_a_generator_goes_on_where_it_stood_after_json():
    rng = np.random.default_rng(12)
    rng.random(5)
    rng.integers(10, dtype=np.uint32)  # leaves half of a 64-bit draw behind
    state = rng_state(rng)
    assert state["has_uint32"] == 1
    text = json.dumps(state)
    expected = [rng.integers(2**32, dtype=np.uint32), *rng.normal(size=20)]
    restored = restore_rng(json.loads(text))
    assert [restored.integers(2**32, dtype=np.uint32), *restored.normal(size=20)] == expected


def test_saved_state_holds_no_integer_that_json_readers_round():
    state = rng_state(np.random.default_rng(0))
    assert all(abs(v) < 2**53 for v in state.values() if isinstance(v, int))
    assert json.loads(json.dumps(state)) == state


def test_restoring_does_not_tie_the_generators_together():
    rng = np.random.default_rng(1)
    restored = restore_rng(rng_state(rng))
    restored.random(10)
    assert rng.random() == np.random.default_rng(1).random()


def test_other_bit_generators_are_refused():
    with pytest.raises(ValueError, match="bit_generator: got 'MT19937', allowed: PCG64"):
        rng_state(np.random.Generator(np.random.MT19937(0)))
    state = {**rng_state(np.random.default_rng(0)), "bit_generator": "Philox"}
    with pytest.raises(ValueError, match="bit_generator: got 'Philox', allowed: PCG64"):
        restore_rng(state)
