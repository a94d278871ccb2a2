"""Bad input: one line on stderr, exit code 2, nothing started and nothing written."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metagenrl.commands.main import main
from metagenrl.runs.config.baselines import BASELINES, RLLIB, Library
from metagenrl.runs.config.lone_agents import BaselineConfig, MetaTestConfig
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_yaml

BOMB = (
    "seed: [&a0 [x, x], " + ", ".join(f"&a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)) + "]"
)

StoreRun = Callable[[TrainConfig], Path]
Refusal = Callable[[str], str]

BAD_LINES = [
    (
        "",
        "command: missing, allowed: train, test, baseline, objective show, objective list",
    ),
    ("trian", "trian: unknown command, did you mean train?"),
    ("objective", "objective: unknown command, did you mean objective show?"),
    ("train --bacth-size 3", "--bacth-size: unknown option, did you mean --batch-size?"),
    ("train --agent.gama 1", "--agent.gama: unknown option, did you mean --agent.gamma?"),
    ("train --no-stager", "--no-stager: unknown option, did you mean --no-stagger?"),
    ("train stray", "stray: unexpected argument"),
    ("train --stagger yes", "yes: unexpected argument after --stagger, which is a switch"),
    (
        "test --seeds 0 1",
        "1: unexpected argument after --seeds, which takes one value (a whole number)",
    ),
    ("train -5", "-5: unknown option"),
    ("train --agents", "--agents: missing value, allowed: a whole number"),
    ("train --agents many", "--agents: got 'many', allowed: a whole number"),
    (
        "train --agents 100000000000",
        "agents: got 100000000000, allowed: a whole number from 1 to 10",
    ),
    (
        "train --hidden-units 99999999",
        "agent.hidden_units: got 99999999, allowed: a number <= 16384",
    ),
    (
        "train --objective.hidden-units 0",
        "objective.hidden_units: got 0, allowed: a number >= 1",
    ),
    (
        "train --objective.lstm-units 99999999",
        "lstm_units: got 99999999, allowed: a number <= 16384",
    ),
    ("train --agents-per-env x", "--agents-per-env: got 'x', allowed: a whole number"),
    (
        "test --objective random --env Pendulum-v1 --run-dir out --seeds 4000000000",
        "seeds: got 4000000000, allowed: a whole number from 1 to 1000000",
    ),
    ("train --agents 0", "agents: got 0, allowed: a whole number >= 1"),
    ("train --agents 1", "envs: got ('Pendulum-v1', 'InvertedDoublePendulum-v5'), allowed: no mo"),
    ("train --steps -5", "steps: got -5, allowed: a whole number >= 1"),
    ("train --gamma 1.5", "gamma: got 1.5, allowed: a number in [0, 1]"),
    ("train --gamma nan", "--gamma: got nan, allowed: a finite number"),
    ("train --batch-size 101", "learning_starts: got 200, allowed: at least 202"),
    ("train --eval-every 0", "eval_every: got 0, allowed: a whole number >= 1"),
    ("train --eval-patience 2", "eval_patience: got 2, allowed: 0 where eval_envs names no"),
    ("train --eval-envs E --eval-steps 200", "eval_steps: got 200, allowed: more than learning_st"),
    ("train --wandb disabled --wandb-per-agent", "wandb_per_agent: got True, allowed: false wher"),
    ("workspace none --out x.json", "run: got 'none' (no such folder), allowed: the folder"),
    ("train --engine dask", "--engine: got 'dask', allowed: ray, inprocess"),
    ("train --preset tiny", "--preset: got 'tiny', allowed: quickstart, small, paper"),
    ("train --config none.yaml", "config: got 'none.yaml' (No such file or directory)"),
    ("train --resume none", "resume: got 'none' (no such folder), allowed: the folder of a"),
    ("train --run-dir /proc/none/run", "run_dir: got '/proc/none/run' ("),
    ("test --objective random --run-dir out", "env: missing, allowed: text"),
    ("test --objective none --env Pendulum-v1 --run-dir out", "objective: got 'none' (none: no ob"),
    (
        "baseline --algo a2c",
        "--algo: got 'a2c', allowed: td3, ddpg, sac, reinforce-off, reinforce-cri",
    ),
    ("objective show none", "file: got 'none' (no such file), allowed: an objective's snapshot"),
    ("objective show", "file: missing, allowed: a path"),
    ("objective show a b", "b: unexpected argument"),
    ("objective show --preset small", "--preset: unknown option"),
    (
        "train --store redis://:s3cret@h:x",
        "--store: got 'redis://***@h:x', allowed: file, redis://",
    ),
    (
        "train --store redis://10.0.0.1",
        "store: got 'redis://10.0.0.1' (another machine's, without a",
    ),
    ("train --store redis://:s3cret@127.0.0.1:1", "store: got 'redis://127.0.0.1:1' (Error 111"),
    ("train --older-policies 0.5 --lifetime 0", "older_policies: got 0.5, allowed: 0 where lifeti"),
    ("scale run --agents 0", "agents: got 0, allowed: a whole number >= 1"),
    ("scale run", "agents: missing, allowed: a whole number"),
    ("pause", "run: missing, allowed: text"),
    ("stop run --timeout 0", "timeout: got 0.0, allowed: a finite number > 0"),
    (
        "status nowhere",
        "run: got 'nowhere' (no folder of a run), allowed: such a folder, or a run's",
    ),
    ("status run --preset small", "--preset: unknown option"),
    (
        "baseline --algo td3 --phase train --run-dir x",
        "phase: got 'train', allowed: nothing with td",
    ),
    (
        "baseline --algo td3 --resume --run-dir none",
        "run_dir: got 'none' (no such folder), allowed",
    ),
    ("test --objective random --resume --run-dir none", "run_dir: got 'none' (no such folder), al"),
    ("test --objective random --env= --run-dir x", "env: got '', allowed: an environment's id"),
    (
        "train --objective.use-advantage=false",
        "--objective.use-advantage: got 'false', allowed: nothing, it is a switch",
    ),
    ("train --env-kwargs g=010", "env_kwargs: got 'g=010' (010 is 8 in YAML, line 1: write a dec"),
    (f"train --env-kwargs g={'[' * 3000}", "env_kwargs: got 'g=[[[["),
    (f"train --envs E-v0(g={'[' * 3000})", "envs: got 'E-v0(g=[[[["),
    (f"train --{'x' * 9999}", "--xxxx"),
]


@pytest.mark.parametrize(("line", "complaint"), BAD_LINES)
def test_a_mistake_is_one_line_and_starts_nothing(
    line: str, complaint: str, refusal: Refusal
) -> None:
    refused = refusal(line)
    assert refused.startswith(complaint)
    assert len(refused) < 2100


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        ("Pendulm-v1", "Pendulum-v1"),
        ("CartPole-v1", "action space Discrete(2)"),
        ("Blackjack-v1", "observation space Tuple"),
    ],
)
@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("train --run-dir out --envs Pendulum-v1", "envs"),
        ("train --run-dir out --eval-envs Pendulum-v1", "eval_envs"),
        ("test --objective random --run-dir out --env", "env"),
        ("baseline --algo td3 --run-dir out --env", "env"),
    ],
)
def test_an_unusable_environment_is_refused(
    line: str, field: str, env: str, complaint: str, refusal: Refusal
) -> None:
    message = refusal(f"{line} {env}")
    assert message.startswith(f"{field}: got '{env}'")
    assert complaint in message


@pytest.mark.parametrize(
    "line",
    [
        "train --envs Pendulum-v1",
        "test --objective random --env Pendulum-v1",
        "baseline --algo td3 --env Pendulum-v1",
    ],
)
def test_a_folder_that_is_a_run_or_a_file_is_refused(
    line: str, refusal: Refusal, stored_run: StoreRun
) -> None:
    run = stored_run(TrainConfig())
    message = refusal(f"{line} --run-dir {run}")
    assert message.startswith(f"run_dir: got '{run}' (holds another run), allowed: a new folder")
    message = refusal(f"{line} --run-dir {run / 'config.yaml'}")
    assert message.startswith("run_dir: got ")
    assert message.endswith("allowed: a folder that can be written to")


def test_an_objective_of_another_architecture_is_refused(
    started: list[Any], refusal: Refusal, stored_run: StoreRun
) -> None:
    run = stored_run(TrainConfig())
    line = f"test --objective {run} --env Pendulum-v1 --run-dir out --lstm-units"
    message = refusal(f"{line} 24")
    assert re.match(r"architecture: got .*'lstm_units': 24.* allowed: .*'lstm_units': 16", message)
    main([*line.split(), "16"])
    assert started[0].architecture.lstm_units == 16


def test_a_damaged_objective_is_refused(refusal: Refusal, stored_run: StoreRun) -> None:
    run = stored_run(TrainConfig())
    file = run / "objectives" / "objective-00000030.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    line = f"test --objective {run} --env Pendulum-v1 --run-dir out"
    message = refusal(line)
    assert message.startswith(f"objective: got '{run}' ({file}: ")
    assert refusal(f"objective show {file}").startswith(f"file: got '{file}' (")
    assert "no objective snapshot '7', there: versions 30" in refusal(f"{line} --version 7")


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--gamma 0.5", "agent.gamma: got 0.5, allowed: 0.99, as in the run being resumed"),
        ("--seed 3", "seed: got 3, allowed: 0, as in the run being resumed"),
        ("--envs Hopper-v5", "envs: got ['Hopper-v5'], allowed: ['Pendulum-v1'], as in"),
        ("--quorum 0.5", "server.quorum: got 0.5, allowed: 1.0, as in"),
        ("--steps 599999", "steps: got 599999, allowed: at least 600000"),
        ("--run-dir other", "run_dir: got 'other', allowed: "),
        ("--eval-envs Hopper-v5", "held_out.eval_envs: got ['Hopper-v5'], allowed: [], as in"),
        ("--preset small", "preset: got 'small' (envs: ['Pendulum-v1', 'InvertedDouble"),
    ],
)
def test_resuming_with_another_configuration_is_refused(
    flags: str, line: str, refusal: Refusal, stored_run: StoreRun
) -> None:
    run = stored_run(TrainConfig(envs=("Pendulum-v1",)))
    assert refusal(f"train --resume {run} {flags}").startswith(line)


def test_a_workspace_without_a_place_to_go_is_refused(
    refusal: Refusal, stored_run: StoreRun
) -> None:
    run = stored_run(TrainConfig())
    assert refusal(f"workspace {run}").startswith("entity: missing, allowed: an account")
    assert refusal(f"workspace {run} --out none/x").startswith(
        "out: got 'none/x' (its folder is not"
    )


@pytest.mark.parametrize("line", ["--algo ppo", "--algo rl2 --phase train"])
def test_a_baseline_that_lacks_a_library_says_what_to_install(
    line: str, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for algo in ("ppo", "rl2"):
        lacking = replace(BASELINES[algo], needs=Library("ray[rllib]", ("json", "no_such_module")))
        monkeypatch.setitem(BASELINES, algo, lacking)
    algo = line.split()[1]
    assert refusal(f"baseline {line} --env Pendulum-v1 --run-dir out") == (
        f"algo: got '{algo}' (no_such_module not installed), allowed: after "
        "`pip install 'ray[rllib]'`"
    )
    assert not RLLIB.missing


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("WANDB_MODE", "foo", "online, offline, shared, disabled, dryrun or run"),
        ("WANDB_BASE_URL", "nonsense", "what wandb takes (Input should be a valid URL"),
        ("WANDB_SILENT", "maybe", "what wandb takes (Input should be a valid boolean"),
        ("WANDB_PROJECT", "a/b", "what wandb takes (Invalid project name"),
        ("METAGENRL_KERNELS", "fortran", "c, blas, torch"),
    ],
)
def test_a_variable_that_a_library_does_not_take_is_refused(
    name: str, value: str, allowed: str, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    line = "train --envs Pendulum-v1 --engine inprocess --run-dir out"
    assert refusal(line).startswith(f"{name}: got {value!r}, allowed: {allowed}")


def test_a_backend_that_matplotlib_does_not_have_is_refused() -> None:
    """In a process of its own: matplotlib looks at the variable when it is first imported."""
    words = [sys.executable, "-m", "metagenrl.commands.main", "objective", "list"]
    ended = subprocess.run(
        words, env=os.environ | {"MPLBACKEND": "foo"}, capture_output=True, text=True, timeout=300
    )
    line = "error: MPLBACKEND: got 'foo', allowed: a backend of matplotlib, agg for one, or nothing"
    assert (ended.returncode, ended.stderr, ended.stdout) == (2, f"{line}\n", "")


def test_a_folder_with_other_files_is_told_and_one_with_a_runs_names_refused(
    started: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "cwd" / "my_env.py").touch()
    line = "baseline --algo td3 --env Pendulum-v1 --run-dir"
    main([*line.split(), "."])
    told = f"{tmp_path / 'cwd'} has other files (my_env.py), which stay as they are"
    assert told in caplog.text + capsys.readouterr().err
    (tmp_path / "cwd" / "seeds").mkdir()
    with pytest.raises(SystemExit, match="2"):
        main([*line.split(), "."])
    assert (
        "(holds seeds, which a run would write), allowed: a new folder" in capsys.readouterr().err
    )
    assert len(started) == 1


@pytest.mark.parametrize("command", ["train", "test", "baseline"])
def test_the_file_of_another_command_is_named(
    command: str, refusal: Refusal, tmp_path: Path
) -> None:
    files = {
        "train": TrainConfig(),
        "test": MetaTestConfig(objective="random", env="Pendulum-v1", run_dir=Path("x")),
        "baseline": BaselineConfig(algo="td3", env="Pendulum-v1", run_dir=Path("x")),
    }
    for other, config in files.items():
        file = tmp_path / f"{other}.yaml"
        file.write_text(to_yaml(config))
    for other in files.keys() - {command}:
        file = tmp_path / f"{other}.yaml"
        configured = (
            f"(it configures `metagenrl {other}`), allowed: a file for `metagenrl {command}`"
        )
        assert refusal(f"{command} --config {file}") == f"config: got '{file}' {configured}"


def test_a_misspelt_field_of_the_objective_is_not_another_commands(
    refusal: Refusal, tmp_path: Path
) -> None:
    """To `test` the objective is a path, so what stands below it says nothing there."""
    file = tmp_path / "own.yaml"
    file.write_text("objective: {use_advantag: true}")
    line = refusal(f"train --preset quickstart --config {file} --run-dir out")
    assert line == ("objective.use_advantag: unknown field, did you mean objective.use_advantage?")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("eval_evry: 5", "eval_evry: unknown field, did you mean eval_every?"),
        ("agent: {gama: 0.5}", "agent.gama: unknown field, did you mean agent.gamma?"),
        ("batch-size: 3", "batch-size: unknown field, did you mean `agent: {batch_size: …}`?"),
        ("agent.gamma: 0.5", "agent.gamma: unknown field, did you mean `agent: {gamma: …}`?"),
        ("preset: paper", "config: got 'preset' in"),
        ("steps: 500\nenvironment: Pendulum-v1", "environment: unknown field"),
    ],
)
@pytest.mark.parametrize(
    "command",
    ["train", "test --objective random --env Pendulum-v1", "baseline --algo td3 --env Pendulum-v1"],
)
def test_a_misspelt_field_is_no_other_commands(
    command: str, text: str, line: str, refusal: Refusal, tmp_path: Path
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text)
    assert refusal(f"{command} --config {file} --run-dir out").startswith(
        line if command != "train" else line.partition(",")[0]
    )


def test_objective_show_takes_a_run(
    stored_run: StoreRun, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["objective", "show", str(stored_run(TrainConfig()))])
    assert "4,000 environment steps of the whole population" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "seed: 1\nseed: 2\n",
            "config: got 'c.yaml' (seed stands twice, again in line 2), allowed",
        ),
        ("\tseed: 1\n", "config: got 'c.yaml' (while scanning"),
        (
            "agents: 010\n",
            "config: got 'c.yaml' (010 is 8 in YAML, line 1: write a decimal number)",
        ),
        ("seed: 1\nsteps: 1:30\n", "config: got 'c.yaml' (1:30 is 90 in YAML, line 2: write"),
        ("gamma: -1:30.5\n", "config: got 'c.yaml' (-1:30.5 is -90.5 in YAML, line 1: write"),
        ("", "config: got 'c.yaml', allowed: a YAML mapping of fields to values"),
        ("- 1\n", "config: got 'c.yaml', allowed: a YAML mapping of fields to values"),
        ("seed: 1\n---\nseed: 2\n", "config: got 'c.yaml' (expected a single document"),
        ("<<: 5\n", "config: got 'c.yaml' (while constructing a mapping"),
        ("agents_per_env: 5\n", "agents_per_env: got 5, allowed: a list of whole numbers"),
        ("agents_per_env: [x]\n", "agents_per_env: got 'x', allowed: a whole number"),
        ("agents_per_env: [0]\n", "agents_per_env: got (0,), allowed: a number >= 1 for each"),
        ("agent: {gamma: .nan}\n", "agent.gamma: got nan, allowed: a finite number"),
        ("agent: [1]\n", "agent: got [1], allowed: a mapping of fields to values"),
        ("steps: 1e400\n", "steps: got '1e400', allowed: a whole number"),
        (
            "seed: 2020-13-45\n",
            "config: got 'c.yaml' (month must be in 1..12), allowed: valid YAML",
        ),
        ("run_dir: !!binary aGVsbG8=\n", "run_dir: got b'hello', allowed: a path"),
        (BOMB, "config: got 'c.yaml' (more than 100,000 values, aliases (*name) written out)"),
        ("seed: &a [*a]\n", "config: got 'c.yaml' (more than 100,000 values"),
        (f"seed: {'[' * 3000}", "config: got 'c.yaml' (too many brackets within each other)"),
        (f"seed: [{'x' * 9999}]\n", "seed: got ['xxx"),
        (
            "env_kwargs: {g: {uniform: [1, 2], uniform: [3, 4]}}\n",
            "config: got 'c.yaml' (uniform stands twice, again in line 1)",
        ),
    ],
)
def test_a_mistake_in_a_file_is_one_line(
    text: str, complaint: str, refusal: Refusal, tmp_path: Path
) -> None:
    (tmp_path / "cwd" / "c.yaml").write_text(text)
    refused = refusal("train --config c.yaml")
    assert refused.startswith(complaint)
    assert len(refused) < 600


def test_a_file_without_an_end_is_not_read_to_it(refusal: Refusal) -> None:
    complaint = "config: got '/dev/zero' (more than 10,000,000 characters), allowed"
    assert refusal("train --config /dev/zero").startswith(complaint)


def test_anchors_merges_and_a_byte_order_mark_are_read(started: list[Any], tmp_path: Path) -> None:
    text = "held_out: &many {eval_seeds: 2}\n<<: {seed: 3, steps: 700}\nseed: 4\n"
    (tmp_path / "cwd" / "c.yaml").write_text(text, encoding="utf-8-sig")
    line = "train --preset quickstart --config c.yaml --envs Pendulum-v1 --agents 2 --run-dir out"
    main(line.split())
    assert (started[0].seed, started[0].steps, started[0].held_out.eval_seeds) == (4, 700, 2)
