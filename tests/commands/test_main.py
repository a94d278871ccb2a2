"""The commands around their configurations: exit codes, interruption, help, show."""

import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from metagenrl.base.checks import UsageError
from metagenrl.commands.main import main
from metagenrl.commands.parsing import accepted_flags
from metagenrl.commands.top import TopConfig
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_yaml

ROOT = Path(__file__).resolve().parents[2]
ENVS = ["--envs", "Pendulum-v1"]


def test_the_exit_code_is_the_commands(monkeypatch: pytest.MonkeyPatch, started: list[Any]) -> None:
    failing = SimpleNamespace(train=lambda config: 3)
    monkeypatch.setitem(sys.modules, "metagenrl.cluster.training", failing)
    with pytest.raises(SystemExit) as caught:
        main(["train", *ENVS])
    assert caught.value.code == 3


def test_a_defect_in_a_command_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, started: list[Any]
) -> None:
    def broken(config: TrainConfig) -> int:
        raise ValueError("shapes differ")

    monkeypatch.setitem(sys.modules, "metagenrl.cluster.training", SimpleNamespace(train=broken))
    with pytest.raises(ValueError, match="shapes differ"):
        main(["train", *ENVS])


def test_bad_input_that_a_command_finds_is_one_line(
    monkeypatch: pytest.MonkeyPatch, started: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def refusing(config: TrainConfig) -> int:
        raise UsageError("objective: got A, allowed: B")

    monkeypatch.setitem(sys.modules, "metagenrl.cluster.training", SimpleNamespace(train=refusing))
    with pytest.raises(SystemExit) as caught:
        main(["train", *ENVS])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: objective: got A, allowed: B\n"


def test_an_interrupted_run_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
    started: list[Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(config: TrainConfig) -> int:
        config.run_dir.mkdir()
        (config.run_dir / "config.yaml").write_text(to_yaml(config))
        raise KeyboardInterrupt

    monkeypatch.setitem(
        sys.modules, "metagenrl.cluster.training", SimpleNamespace(train=interrupted)
    )
    run = tmp_path / "a run"
    with pytest.raises(SystemExit) as caught:
        main(["train", *ENVS, "--run-dir", str(run)])
    assert caught.value.code == 130
    assert capsys.readouterr().err == (
        f"interrupted, go on with: metagenrl train --resume '{run}'\n"
    )


@pytest.mark.parametrize(
    ("command", "cls"),
    [("train", TrainConfig), ("test", MetaTestConfig), ("baseline", BaselineConfig)],
)
def test_help_and_parser_agree_on_the_flags(
    command: str, cls: type, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    shown = set(re.findall(r"(?<=[ │])--[a-z][a-z0-9.-]*(?=[ ,]|$)", text, re.MULTILINE))
    options = accepted_flags(cls)
    shown -= {"--help", "--preset", "--config", "--resume"}
    assert shown <= options.keys()
    reachable = {options[flag].path for flag in shown}
    assert {option.path for option in options.values()} - reachable <= {("resume",)}
    assert "--gamma" in shown
    assert "--agent.gamma" not in shown


def test_help_shows_the_presets_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    for preset, agents in (("paper", 20), ("small", 8)):
        with pytest.raises(SystemExit):
            main(["train", "--preset", preset, "--help"])
        text = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert f"Agents in the population (Table 4). (default: {agents})" in text


def test_a_command_without_presets_shows_its_own_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["explain", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Steps of the new agent (5 000); only with --env. (default: None)" in text


def test_without_docstrings_no_signature_stands_for_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -OO` takes them away, and a dataclass without one has its signature."""
    bare = dataclasses.make_dataclass("TopConfig", [("run", str)])
    monkeypatch.setattr(TopConfig, "__doc__", bare.__doc__)
    main(["--help"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " top " in line]
    assert line.split() == ["metagenrl", "top"]


def test_overview_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    text = capsys.readouterr().out
    for name in ("train", "test", "baseline", "objective show"):
        assert f"metagenrl {name} " in text


def test_objective_show(
    snapshot: ObjectiveSnapshot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot.save(tmp_path / "o.safetensors")
    main(["objective", "show", str(tmp_path / "o.safetensors")])
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    shown = {name: text.strip() for name, text in lines}
    assert "lstm_units 16" in shown["architecture"]
    assert shown["parameters"] == "7"
    assert shown["version"] == "30"
    assert shown["environments"] == "Pendulum-v1, Hopper-v5"
    assert shown["steps"].startswith("4,000 ")
    assert shown["run"] == "run-b"
    assert shown["checksum"] == f"sha256 {snapshot.checksum}"


def test_mistakes_are_answered_without_the_heavy_imports(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom metagenrl.commands.main import main\n"
        "try: main(['train', '--envs', 'CartPole-v1'])\n"
        "finally: print(sorted({'torch', 'ray', 'wandb', 'pandas'} & sys.modules.keys()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (2, "[]\n")
    assert result.stderr.startswith("error: envs: got 'CartPole-v1'")
    assert result.stderr.count("\n") == 1


def test_train_py_works_by_itself(tmp_path: Path) -> None:
    shutil.copy(ROOT / "train.py", tmp_path / "train.py")
    result = subprocess.run(
        [sys.executable, "train.py", "--agents", "0"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert result.stderr == "error: agents: got 0, allowed: a whole number >= 1\n"


@pytest.mark.parametrize("program", [["train.py"], ["-m", "metagenrl", "train"]])
def test_files_beside_the_user_hide_no_package(program: list[str], tmp_path: Path) -> None:
    shutil.copy(ROOT / "train.py", tmp_path / "train.py")
    for name in ("torch", "numpy", "yaml", "tyro"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the user has this name')")
    words = [sys.executable, *program, "--config", "nowhere.yaml"]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: config: got 'nowhere.yaml'")
