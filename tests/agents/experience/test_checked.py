"""What a replay buffer refuses to store: one line that names the field, and nothing is stored."""

from typing import Any

import numpy as np
import pytest
import torch

from metagenrl.agents.experience.replay import ReplayBuffer

STEP: dict[str, Any] = {
    "observation": [0.5, 1.0],
    "action": [1.0],
    "reward": 2.0,
    "next_observation": [1.0, 0.0],
    "terminated": False,
    "truncated": True,
}
NAN = float("nan")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("observation", [NAN, 1.0]),
        ("observation", np.array([1e300, 1.0])),
        ("observation", np.array([np.inf, 1.0], np.float32)),
        ("observation", ["a", "b"]),
        ("observation", np.zeros(2, complex)),
        ("observation", [[1, 2], 3]),
        ("observation", None),
        ("observation", np.ma.masked_array([0.5, 1.0], [False, True])),
        ("reward", np.ma.masked),
        ("observation", 4.0),
        ("action", [2.0]),  # the environment's own, not scaled
        ("action", np.array([-1.001], np.float32)),
        ("action", [NAN]),
        ("reward", None),
        ("reward", "4"),
        ("reward", NAN),
        ("reward", [1.0]),
        ("terminated", None),
        ("terminated", "False"),
        ("terminated", torch.zeros(3)),
        ("truncated", 2),
    ],
)
def test_what_is_no_step_is_refused_and_changes_nothing(field: str, value: Any) -> None:
    buffer = ReplayBuffer(1, 2, 1)
    buffer.add(**STEP)
    before = buffer.state_dict()
    with pytest.raises(ValueError, match=f"^{field}: got .*allowed: ") as error:
        buffer.add(**{**STEP, field: value})
    assert "\n" not in str(error.value)
    for name, stored in buffer.state_dict().items():
        np.testing.assert_array_equal(stored, before[name])


def test_huge_numbers_are_taken_or_refused_without_a_warning(recwarn) -> None:
    buffer = ReplayBuffer(1, 2, 1)
    for huge in (3e38, np.float32(3e38)):
        buffer.add(**{**STEP, "observation": np.full(2, huge, np.float32)})
    with pytest.raises(ValueError, match=r"^action: got "):
        buffer.add(**{**STEP, "action": np.array([3e38], np.float32)})
    assert [str(warning.message) for warning in recwarn] == []


def test_numbers_of_every_type_are_stored_as_they_are() -> None:
    buffer = ReplayBuffer(4, 2, 1)
    buffer.add(**STEP)
    buffer.add(np.array([1, 2], np.uint8), torch.tensor([-0.5]), np.int64(3), (3e38, -3e38), 1, 0)
    buffer.add([0, 1], [1 + 1e-7], torch.tensor(1.5), [0, 0], np.True_, torch.tensor(False))
    state = buffer.state_dict()
    np.testing.assert_array_equal(state["observations"], [[0.5, 1], [1, 2], [0, 1]])
    np.testing.assert_array_equal(state["next_observations"][1], np.float32([3e38, -3e38]))
    np.testing.assert_allclose(state["actions"], [[1], [-0.5], [1]], rtol=1e-6)
    np.testing.assert_array_equal(state["rewards"], [2, 3, 1.5])
    np.testing.assert_array_equal(state["terminated"], [False, True, True])
    np.testing.assert_array_equal(state["ends"], [True, True, True])


def test_a_policys_own_output_is_an_action() -> None:
    """With its graph, and in the precision that a large network computes in."""
    buffer = ReplayBuffer(2, 2, 1)
    layer = torch.nn.Linear(2, 1)
    state = torch.ones(2)
    action = layer(state).tanh()
    buffer.add(state.bfloat16(), action, action.sum(), state, False, False)
    stored = buffer.state_dict()
    np.testing.assert_array_equal(stored["observations"], [[1, 1]])
    np.testing.assert_array_equal(stored["actions"], [action.detach().numpy()])
