"""One size for several environments."""

import numpy as np
import pytest

from metagenrl.agents.environment.make import EnvironmentFacts
from metagenrl.baselines.padding import Padding

SPECS = [EnvironmentFacts("A-v0", 3, 2, None), EnvironmentFacts("B-v0", 5, 1, None)]


def test_the_largest_of_each_or_what_is_asked_for():
    assert Padding.of(SPECS) == Padding(5, 2)
    assert Padding.of(SPECS, observations=8) == Padding(8, 2)
    assert Padding.of(SPECS, 8, 4) == Padding(8, 4)


@pytest.mark.parametrize(("sizes", "env"), [((4, 2), "B-v0"), ((5, 1), "A-v0")])
def test_what_does_not_fit_is_refused_with_both_sizes(sizes, env):
    spec = next(spec for spec in SPECS if spec.env_id == env)
    found = f"{spec.observation_size} observations, {spec.action_size} actions"
    message = rf"env: got '{env}' \({found}\), allowed: at most {sizes[0]} and {sizes[1]}, "
    with pytest.raises(ValueError, match=message):
        Padding.of(SPECS, *sizes)


def test_zeros_come_at_the_end():
    padding = Padding(4, 3)
    assert padding.observation(np.float32([1, 2])).tolist() == [1, 2, 0, 0]
    assert padding.action(np.float32([5])).tolist() == [5, 0, 0]
    assert padding.action(np.float32([5])).dtype == np.float32
