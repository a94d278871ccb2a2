"""What tells a saturated policy and a constant push from one that answers to the state."""

import numpy as np
import pytest

from metagenrl.policies.actions import action_facts


def test_saturation_and_spread_by_hand() -> None:
    facts = action_facts([np.array([1.0, 0.5]), np.array([-0.995, 0.5]), np.array([1.0, 0.5])])
    assert facts.at_bounds == pytest.approx(3 / 6)
    assert facts.spread == pytest.approx(np.std([1.0, -0.995, 1.0]) / 2)


def test_a_constant_push_has_no_spread() -> None:
    facts = action_facts([np.array([0.3])] * 5)
    assert str(facts) == "actions: 0% at a bound, spread over states 0.00"
