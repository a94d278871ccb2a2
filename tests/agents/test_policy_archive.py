"""Earlier policies: which are kept, which come back, and what a life that begins with one is."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from metagenrl.agents.policy_archive import PolicyArchive


def archive_of(offers: int, capacity: int = 4, seed: int = 0) -> PolicyArchive:
    archive = PolicyArchive(capacity, np.random.default_rng(seed))
    for steps in range(offers):
        archive.offer(steps, lambda steps=steps: {"phi": np.full(2, steps, np.float32)})
    return archive


def test_everything_is_kept_until_it_is_full() -> None:
    assert archive_of(3).steps == [0, 1, 2]
    assert len(archive_of(50).steps) == 4


def test_what_is_kept_is_uniform_over_the_whole_past() -> None:
    """Of 12 offers 4 are kept: each with probability 1/3, the first as well as the last."""
    kept = Counter(step for seed in range(3000) for step in archive_of(12, seed=seed).steps)
    assert set(kept) == set(range(12))
    # Binomial(3000, 1/3): standard deviation 26; 5 of them.
    assert all(abs(count - 1000) < 130 for count in kept.values())


def test_a_policy_that_is_not_kept_is_not_copied() -> None:
    asked = []
    archive = PolicyArchive(2, np.random.default_rng(0))
    for steps in range(40):
        archive.offer(steps, lambda steps=steps: asked.append(steps) or {})
    assert asked[:2] == [0, 1]
    assert len(asked) < 20
    assert set(archive.steps) <= set(asked)


def test_drawing_follows_the_share_and_is_uniform() -> None:
    archive = archive_of(4)
    drawn = [archive.draw(0.25) for _ in range(4000)]
    steps = Counter(None if policy is None else policy.steps for policy in drawn)
    assert abs(steps[None] - 3000) < 5 * 28  # Binomial(4000, 3/4)
    assert all(abs(steps[step] - 250) < 5 * 16 for step in range(4))
    assert all(policy is None or policy.state["phi"][0] == policy.steps for policy in drawn)
    assert archive.draw(0.0) is None
    assert PolicyArchive(4, np.random.default_rng(0)).draw(1.0) is None  # there is none yet


def test_a_restored_archive_has_the_same_future() -> None:
    archive, other = archive_of(9), PolicyArchive(4, np.random.default_rng(7))
    state = archive.state_dict()
    json.dumps(state, default=lambda array: array.tolist())  # arrays and JSON values only
    other.load_state_dict(state)
    for steps in range(9, 30):
        for each in (archive, other):
            each.offer(steps, lambda steps=steps: {"phi": np.full(2, steps, np.float32)})
        assert archive.steps == other.steps
        one, two = archive.draw(0.5), other.draw(0.5)
        assert (one is None) == (two is None)
        assert one is None or (one.steps, one.state["phi"][0]) == (two.steps, two.state["phi"][0])


@pytest.mark.parametrize(("field", "value"), [("older_policies", 1.5), ("archive_size", 0)])
def test_bad_values_are_named(field: str, value: float) -> None:
    from metagenrl.learner.hyperparams import MetaConfig

    with pytest.raises(ValueError, match=f"^{field}: got {value}"):
        MetaConfig(lifetime=100, **{field: value})
    with pytest.raises(ValueError, match=r"^older_policies: got 0\.5, allowed: 0 where lifetime"):
        MetaConfig(older_policies=0.5)
