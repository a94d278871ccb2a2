"""Commands as functions: the options and errors of the command line, and what comes back."""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.pendulum import PendulumEnv

import metagenrl
from metagenrl.api.calls import _words
from metagenrl.commands.table import COMMANDS
from metagenrl.learner.hyperparams import AgentConfig
from metagenrl.runs.config.lone_agents import MetaTestConfig
from metagenrl.runs.config.train import TrainConfig


def settings(**fields: Any) -> MetaTestConfig:
    return MetaTestConfig(**{"objective": "random", "env": "E-v0", "run_dir": Path("r")} | fields)


TINY = {"hidden_units": 8, "random_steps": 60, "learning_starts": 60, "batch_size": 4}


def test_a_test_runs_and_its_rows_come_back(tmp_path: Path) -> None:
    run = metagenrl.test(
        objective="random", env="Pendulum-v1", run_dir=tmp_path / "run", seeds=1, steps=200,
        eval_every=100, eval_episodes=1, agent={**TINY, "gamma": 0.9}, normalization="td",
    )  # fmt: skip
    assert run.config["agent"]["gamma"] == 0.9
    assert run.config["architecture"]["normalization"] == "td"
    assert [row["steps"] for row in run.rows if row["kind"] == "evaluation"] == [0, 100, 200]
    assert list(run.frame("evaluation")["env"].unique()) == ["Pendulum-v1"]


def test_a_run_too_short_to_learn_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = MetaTestConfig(
        objective="random", env="Pendulum-v1", run_dir=tmp_path / "run", seeds=1, steps=10,
        eval_every=10, eval_episodes=1, agent=AgentConfig(**TINY),
    )  # fmt: skip
    note = (
        "note: steps: 10 are too few, learning begins at step 60: the policies stay as they begin"
    )
    metagenrl.test(config)
    assert capsys.readouterr().err.splitlines().count(note) == 1
    metagenrl.test(
        objective="random", env="Pendulum-v1", run_dir=tmp_path / "words", seeds=1, steps=10,
        eval_every=10, eval_episodes=1, agent=TINY,
    )  # fmt: skip
    assert capsys.readouterr().err.splitlines().count(note) == 1


def test_a_complete_configuration_is_checked_like_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # which is not asked for any of these
    config = TrainConfig(envs=("NoSuch-v0",), run_dir=str(tmp_path / "run"))  # type: ignore[arg-type]
    with pytest.raises(metagenrl.UsageError, match=r"^envs: got 'NoSuch-v0', allowed"):
        metagenrl.train(config)
    with pytest.raises(metagenrl.UsageError, match="steps: unexpected beside"):
        metagenrl.train(config, steps=3)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["train", "test"])
def test_who_interrupts_a_run_is_told_how_it_goes_on(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As in a notebook: an exception that `except Exception` in a loop does not swallow."""
    folder = tmp_path / "run"

    def interrupt() -> None:
        while not (folder / "config.yaml").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    own: dict[str, Any] = {"objective": "random", "env": "Pendulum-v1", "seeds": 1}
    if name == "train":
        own = {"envs": ["Pendulum-v1"], "agents": 2, "engine": "inprocess", "wandb": "disabled"}
    call: Callable[..., Any] = getattr(metagenrl, name)
    with pytest.raises(KeyboardInterrupt):
        call(preset="quickstart", steps=100_000, run_dir=folder, **own)
    again = "train --resume {0}" if name == "train" else "test --run-dir {0} --resume"
    told = "".join(capfd.readouterr())
    assert f"ended by SIGINT; go on with: metagenrl {again.format(folder)}" in told


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("train", {"stpes": 3}, "--stpes: unknown option"),
        ("train", {"agents": 0}, "agents: got 0, allowed"),
        ("test", {"objective": "random", "run_dir": "x"}, "env: missing"),
        ("trian", {}, "command: got 'trian', allowed: train"),
        ("baseline", {"algo": "epg"}, "run_dir: missing"),
    ],
)
def test_mistakes_are_exceptions_with_the_same_line(
    name: str, options: dict[str, object], line: str
) -> None:
    with pytest.raises(metagenrl.UsageError, match=line) as error:
        metagenrl.command(name, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: metagenrl.test("x"), "config: got 'x', allowed: a complete MetaTestConfig"),
        (lambda: metagenrl.test(TrainConfig()), "config: got TrainConfig.*a complete MetaTest"),
        (lambda: metagenrl.train(settings()), "config: got Meta"),
        (lambda: metagenrl.train(config="a.yaml"), "config: got 'a.yaml', allowed: a complete"),
        (lambda: settings(env=None), "env: got None"),
        (lambda: settings(steps="5"), "steps: got '5'"),
        (lambda: settings(steps=5.5), "steps: got 5.5"),
        (lambda: TrainConfig(env_timeout="5"), "env_timeout: got '5'"),
        (lambda: AgentConfig(gamma=None), "gamma: got None"),
        (lambda: metagenrl.test(settings(run_dir=4)), "run_dir: got 4"),
        (lambda: metagenrl.command(["report"]), r"command: got \['report'\]"),
        (lambda: metagenrl.baseline(algo=[]), "--algo: missing value"),
        (lambda: metagenrl.test(agent={1: 2}), "--agent.1: unknown option"),
        (lambda: metagenrl.test(run_dir=b"runs/a"), "run_dir: got b'runs/a'"),
        (lambda: metagenrl.test(env=dict, run_dir="x"), "env: got <class 'dict'>"),
        (lambda: metagenrl.test(agent={"gamma": object()}), "agent.gamma: got <object"),
        (lambda: metagenrl.test(steps=[np.zeros(2)]), "steps: got array"),
        (lambda: metagenrl.train(steps=True), "steps: got True, allowed: a whole number"),
        (lambda: metagenrl.train(agent={"gamma": False}), "agent.gamma: got False, allowed: a fin"),
        (lambda: metagenrl.train(preset=True), "preset: got True, allowed: "),
        (lambda: metagenrl.train(stpes=True), "--stpes: unknown option"),
    ],
)
def test_what_is_no_option_is_named(call: Callable[[], Any], line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}") as error:
        call()
    assert "\n" not in str(error.value)


def test_an_environment_of_this_program_alone_is_refused_where_agents_have_processes(
    tmp_path: Path,
) -> None:
    gymnasium.register("OfThisTest-v0", PendulumEnv)
    try:
        with pytest.raises(metagenrl.UsageError, match=r"^env: got 'OfThisTest-v0' .*alone"):
            metagenrl.test(objective="random", env="OfThisTest-v0", run_dir=tmp_path / "run")
        for own in ({"envs": ["OfThisTest-v0"]}, {"eval_envs": ["OfThisTest-v0"]}):
            options = {"envs": ["Pendulum-v1"], "preset": "quickstart", "engine": "ray"} | own
            with pytest.raises(metagenrl.UsageError, match=r"envs: got 'OfThisTest-v0' .*alone"):
                metagenrl.train(run_dir=tmp_path / "run", **options)
    finally:
        del gymnasium.registry["OfThisTest-v0"]
    assert not (tmp_path / "run").exists()


class OldInterface(PendulumEnv):
    def step(self, u: Any) -> Any:
        return super().step(u)[:4]


def test_an_environment_of_this_program_alone_is_tried_here(tmp_path: Path) -> None:
    gymnasium.register("OldOfThisTest-v0", OldInterface)
    try:
        with pytest.raises(metagenrl.UsageError, match=r"^envs: got 'OldOf.*step\(\) returned 4"):
            metagenrl.train(
                preset="quickstart", engine="inprocess", envs=["OldOfThisTest-v0"], agents=2,
                run_dir=tmp_path / "run",
            )  # fmt: skip
    finally:
        del gymnasium.registry["OldOfThisTest-v0"]
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def meta_trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], torch.Tensor]:
    """The alpha of a short run in this process."""
    folder = tmp_path_factory.mktemp("runs")

    def train(name: str) -> torch.Tensor:
        run = metagenrl.train(
            preset="quickstart", engine="inprocess", envs=["Pendulum-v1"], agents=2, steps=90,
            run_dir=folder / name, wandb="disabled", **TINY,
        )  # fmt: skip
        return metagenrl.load_objective(run.path).alpha

    return train


@pytest.fixture(scope="module")
def plain(meta_trained: Callable[[str], torch.Tensor]) -> torch.Tensor:
    return meta_trained("plain")


@contextlib.contextmanager
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        assert torch.get_default_dtype() == torch.float64
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "theirs",
    [
        double,
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: torch.device("meta"),
        lambda: np.errstate(all="raise"),
        torch.inference_mode,
    ],
)
def test_the_callers_settings_are_neither_obeyed_nor_changed(
    theirs: Callable[[], contextlib.AbstractContextManager[Any]],
    meta_trained: Callable[[str], torch.Tensor],
    plain: torch.Tensor,
    request: pytest.FixtureRequest,
) -> None:
    threads, state = torch.get_num_threads(), random.getstate()
    torch.set_num_threads(2)
    try:
        with theirs():
            alpha = meta_trained(request.node.callspec.id)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert random.getstate() == state
    assert torch.equal(alpha, plain)


def test_a_random_objective_is_its_seeds_alone() -> None:
    wanted = metagenrl.random_objective(3).alpha
    with double(), torch.device("meta"):
        found = metagenrl.random_objective(3).alpha
    assert torch.equal(found, wanted)


def test_pytest_takes_no_command_for_a_test() -> None:
    assert not metagenrl.test.__test__


def test_options_are_words() -> None:
    options = {"env": "A-v1", "agent": {"gamma": 0.5}, "resume": True, "version": 3}
    words = ["--env", "A-v1", "--agent.gamma", "0.5", "--resume", "--version", "3"]
    assert _words(MetaTestConfig, options) == words
    numbers = {"steps": np.int64(3), "agent": {"gamma": np.float32(0.5)}, "seed": torch.tensor(4)}
    words = ["--steps", "3", "--agent.gamma", "0.5", "--seed", "4"]
    assert _words(MetaTestConfig, numbers) == words
    compare = COMMANDS["compare"].config_class
    given = {"out": Path("o"), "runs": ["a", Path("b")]}
    assert _words(compare, given) == ["a", "b", "--out", "o"]
    assert _words(TrainConfig, {"stagger": False}) == ["--no-stagger"]
