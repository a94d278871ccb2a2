"""The text that names an environment, and what its ranges give to lives."""

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv

from metagenrl.agents.environment.make import (
    check_environment,
    close_environment,
    includes,
    make_environment,
    resolved,
    same_environment,
)
from metagenrl.agents.environment.spec import EnvironmentSpec, drawn_environment, folder_name


def test_a_text_is_read_back_as_it_was_written():
    mapping = {
        "id": "E-v0",
        "kwargs": {"b": [1, 2], "a": {"uniform": [6, 12]}},
        "wrappers": ["m:W"],
    }
    spec = EnvironmentSpec.of_mapping(mapping)
    assert spec.text == 'E-v0(a={"uniform": [6, 12]}, b=[1, 2])+m:W'
    assert EnvironmentSpec.of(spec.text) == spec
    assert list(spec.ranges) == ["a"]  # a list is a list
    assert EnvironmentSpec.of("ns/E-v0") == EnvironmentSpec("ns/E-v0")


@pytest.mark.parametrize(
    "text", ["E(a=", "E(a=1", "E(a=1,)", "E(a=1)x", "E(a=1, a=2)", "E+W", "E(=1)"]
)
def test_a_text_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"allowed: an environment's id"):
        EnvironmentSpec.of(text)


@pytest.mark.parametrize(
    "value",
    [
        {"uniform": [3]},
        {"uniform": [2, 1]},
        {"integers": [0.5, 2]},
        {"choice": []},
        {"integers": [0, 10**20]},
        {"uniform": [-1e308, 1e308]},
        {"uniform": [0, 10**400]},
        {"choice": [{"uniform": [1, 2]}]},
    ],
)
def test_a_range_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match=r"allowed: \{uniform"):
        EnvironmentSpec("E-v0").extended({"g": value})


def test_each_life_draws_its_own_value_reproducibly():
    text = 'E(g={"uniform": [6, 12]}, n={"integers": [1, 3]})'
    lives = [drawn_environment(text, 0, 1, life) for life in range(20)]
    assert lives == [drawn_environment(text, 0, 1, life) for life in range(20)]
    drawn = [EnvironmentSpec.of(life).arguments for life in lives]
    assert len({one["g"] for one in drawn}) == 20
    assert all(6 <= one["g"] < 12 for one in drawn)
    assert {one["n"] for one in drawn} == {1, 2, 3}
    assert drawn_environment(text, 0, 2, 0) != lives[0] != drawn_environment(text, 1, 1, 0)
    assert drawn_environment("E(g=1)", 0, 0, 0) == "E(g=1)"


class Sized(PendulumEnv):
    def __init__(self, n=3, goal=None, **kwargs):
        super().__init__(**kwargs)
        self.observation_space = gymnasium.spaces.Box(-1, 1, (n,), np.float32)


@pytest.fixture
def sized():
    gymnasium.register("Sized-v0", Sized, kwargs={"goal": np.zeros(2)})
    yield "Sized-v0"
    del gymnasium.registry["Sized-v0"]


def test_each_value_of_a_choice_is_made(sized):
    assert check_environment(f'{sized}(n={{"choice": [3, 3, 3]}})').observation_size == 3
    with pytest.raises(ValueError, match="whose ranges change its sizes"):
        check_environment(f'{sized}(n={{"choice": [3, 3, 2, 3]}})')
    many = EnvironmentSpec("E-v0").extended({"n": {"choice": list(range(1_000))}}).corners()
    assert 20 < len(many) <= 24


def test_an_argument_beside_a_registered_array(sized):
    assert resolved(f"{sized}(goal=[1, 1])") == f"{sized}(goal=[1, 1])"


def test_what_it_was_trained_with_does_not_keep_it_from_being_seen(sized):
    env, _ = make_environment(f'{sized}(render_mode="human")', "rgb_array")
    assert env.render_mode == "rgb_array"
    close_environment(env, sized)


def test_names_are_what_gymnasium_takes_them_for():
    assert resolved("Pendulum(g=9)") == "Pendulum-v1(g=9)"
    assert resolved(" Pendulum-v1 ") == "Pendulum-v1"
    assert same_environment("Pendulum", "Pendulum-v1")
    assert same_environment("Pendulum(g=9)", "Pendulum-v1(g=9.0)")
    assert not same_environment("Pendulum-v1(g=9)", "Pendulum-v1")


@pytest.mark.parametrize(
    ("training", "env", "met"),
    [
        ('{"uniform": [6, 12]}', "9", True),
        ('{"uniform": [6, 12]}', "12.5", False),
        ('{"uniform": [6, 12]}', "true", False),
        ('{"uniform": [6, 12]}', '{"uniform": [7, 8]}', True),
        ('{"uniform": [6, 12]}', '{"uniform": [7, 13]}', False),
        ('{"uniform": [6, 12]}', '{"integers": [7, 8]}', True),
        ('{"uniform": [6, 12]}', '{"choice": [7, 8]}', True),
        ('{"integers": [6, 12]}', "9.0", True),
        ('{"integers": [6, 12]}', "9.5", False),
        ('{"integers": [6, 12]}', '{"uniform": [7, 8]}', False),
        ('{"choice": [6, 12]}', "12", True),
        ('{"choice": [6, 12]}', "9", False),
        ('{"choice": [6, 12]}', '{"integers": [6, 12]}', False),
        ('{"choice": ["a", "b"]}', '"a"', True),
        ("9", '{"uniform": [6, 12]}', False),
    ],
)
def test_what_a_range_may_draw_was_met(training, env, met):
    assert includes(f"Pendulum-v1(g={training})", f"Pendulum(g={env})") is met
    assert not includes(f"Pendulum-v1(g={training})", f"Pendulum(g={env})+my:Wrapper")
    assert not includes(f"Pendulum-v1(g={training})", "Pendulum-v1")


def test_arguments_that_are_not_taken_are_refused():
    with pytest.raises(ValueError, match=r"allowed: the arguments render_mode, g of Pendulum-v1"):
        check_environment("Pendulum-v1(gravity=9)")
    with pytest.raises(ValueError, match=r"whose wrapper no_such:W raises"):
        check_environment("Pendulum-v1+no_such:W")


def test_folders_of_two_environments_differ():
    assert folder_name("ns/E-v0") == "ns-E-v0"
    assert folder_name("E-v0(a=1)") != folder_name("E-v0(a=2)")
