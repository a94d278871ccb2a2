"""Which version is best, by hand."""

import pytest

from metagenrl.cluster.held_out.score import metric, standing
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.runs.config.held_out import HeldOutOptions


def test_in_one_environment_the_score_is_the_return() -> None:
    found = standing({0: {"E": -5.0}, 100: {"E": 7.0}, 200: {"E": 3.0}, 300: {"E": 1.0}}, ["E"])
    assert found.scores == {0: -5.0, 100: 7.0, 200: 3.0, 300: 1.0}
    assert (found.best, found.best_score, found.without_progress) == (100, 7.0, 2)


def test_in_several_every_environment_counts_the_same() -> None:
    """Returns a thousand times as large do not decide: 20 is half way from 10 to 30."""
    returns = {
        0: {"E": 10.0, "F": 0.0},
        1: {"E": 30.0, "F": 4_000.0},
        2: {"E": 20.0, "F": 10_000.0},
    }
    found = standing(returns, ["E", "F"])
    assert found.scores == pytest.approx({0: 0.0, 1: (1.0 + 0.4) / 2, 2: (0.5 + 1.0) / 2})
    assert found.best == 2


def test_of_equal_versions_the_first_is_best() -> None:
    found = standing({0: {"E": 2.0}, 5: {"E": 2.0}}, ["E"])
    assert (found.best, found.without_progress) == (0, 1)


def test_a_version_without_every_return_has_no_score_but_counts_as_no_progress() -> None:
    found = standing({0: {"E": 1.0, "F": 1.0}, 5: {"E": 9.0, "F": None}}, ["E", "F"])
    assert found.scores == {0: 0.0, 5: None}
    assert (found.best, found.without_progress) == (0, 1)
    nothing = standing({5: {"E": None}}, ["E"])
    assert (nothing.best, nothing.best_score, nothing.without_progress) == (None, None, 0)


def test_the_metric_says_how_the_score_came_about() -> None:
    options = HeldOutOptions(("Hopper-v5",), eval_seeds=4, eval_steps=700)
    assert metric(options) == "mean return in Hopper-v5 after 700 steps, 4 seeds"
    assert "place between" in metric(HeldOutOptions(("Hopper-v5", "Pendulum-v1")))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"eval_every": 0}, "eval_every"),
        ({"eval_seeds": 0}, "eval_seeds"),
        ({"eval_steps": 0}, "eval_steps"),
        ({"eval_episodes": 0}, "eval_episodes"),
        ({"eval_workers": 0}, "eval_workers"),
        ({"eval_patience": -1}, "eval_patience"),
        ({"eval_patience": 2}, "eval_patience"),  # without environments it would do nothing
        ({"eval_envs": ("E", "E")}, "eval_envs"),
    ],
)
def test_bad_options_name_the_field(values: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: got .*, allowed: "):
        HeldOutOptions(**values)  # type: ignore[arg-type]


def test_a_test_must_be_long_enough_to_learn() -> None:
    options = HeldOutOptions(("E",), eval_steps=100)
    options.check_agent(AgentConfig(batch_size=8, learning_starts=99))
    with pytest.raises(ValueError, match="eval_steps: got 100, allowed: more than learning_starts"):
        options.check_agent(AgentConfig(batch_size=8, learning_starts=100))
