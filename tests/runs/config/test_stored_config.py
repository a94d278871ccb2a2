"""Configurations of other releases: what they lack was so then, what they have more names them."""

import dataclasses
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from metagenrl.base.checks import UsageError
from metagenrl.base.release import RELEASE, is_newer
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig
from metagenrl.runs.config.stored import stored_config, stored_values
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_yaml

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "v0.1"

BEFORE = {
    "TrainConfig.env_kwargs": [],
    "TrainConfig.env_wrappers": [],
    "TrainConfig.agents_per_env": [],
    "TrainConfig.env_timeout": 60.0,
    "TrainConfig.env_start_timeout": 600.0,
    "ObjectiveConfig.use_advantage": False,
    "ObjectiveConfig.use_critic_direction": False,
    "ObjectiveConfig.resample_noise": 0.0,
    "MetaConfig.outer_loss": "value",
    "MetaConfig.outer_critic": "first",
    "TrainConfig.backend": "auto",
    "TrainConfig.cluster_cpus": 0,
    "TrainConfig.cluster_wait": 600.0,
    "TrainConfig.take_over": False,
    "TrainConfig.worker_start": "fork",  # processes were spawned, and computed the same
}
"""Fields that came after release 0.1: the value that describes what the program did before.

A new field of these classes belongs here, with that value, which must be its default.
"""


@pytest.mark.parametrize("cls", [ObjectiveConfig, AgentConfig, MetaConfig, TrainConfig])
def test_a_later_fields_default_is_what_was_before(cls: type) -> None:
    then = json.loads((GOLDEN / "defaults.json").read_text())[cls.__name__]
    for field in dataclasses.fields(cls):
        if field.default is dataclasses.MISSING:
            continue  # a section
        name = f"{cls.__name__}.{field.name}"
        known = field.name in then or name in BEFORE
        assert known, f"{name} is new: add to BEFORE what the program did before it"
        before = then[field.name] if field.name in then else BEFORE[name]
        value = str(field.default) if isinstance(field.default, Path) else field.default
        value = list(value) if isinstance(value, tuple) else value
        assert value == before, f"{name}: files without it would now mean something else"


def test_a_file_without_a_field_means_its_default(tmp_path: Path) -> None:
    values = yaml.safe_load(to_yaml(TrainConfig()))
    del values["objective"]["bidirectional"], values["meta"]["older_policies"], values["seed"]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    assert stored_config(TrainConfig, path) == TrainConfig()


@pytest.mark.parametrize("nested", [False, True])
def test_a_file_of_a_later_release_names_it(nested: bool, tmp_path: Path) -> None:
    values = yaml.safe_load(to_yaml(TrainConfig()))
    (values["meta"] if nested else values)["telepathy"] = True
    path = tmp_path / "config.yaml"
    path.write_text(f"# metagenrl 9.1.0\n{yaml.safe_dump(values)}")
    field = "meta.telepathy" if nested else "telepathy"
    with pytest.raises(UsageError) as error:
        stored_values(TrainConfig, path, "resume")
    assert str(error.value) == (
        f"resume: got '{path}' (its field '{field}' is unknown to metagenrl {RELEASE}), allowed: "
        "fields of this release; metagenrl 9.1.0, which wrote the file, reads it"
    )


def test_a_later_release_without_unknown_fields_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(TrainConfig()).replace(RELEASE, "9.1.0", 1))
    assert stored_config(TrainConfig, path) == TrainConfig()


@pytest.mark.parametrize("text", ["agents: 3\n", "agnts: 3\n"])
def test_a_pipe_is_read_once(text: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    assert stored_values(TrainConfig, pipe) == yaml.safe_load(text)
    writer.join()


def test_a_typo_is_still_a_typo(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("agnts: 3\n")
    with pytest.raises(UsageError, match="agnts: unknown field, did you mean agents"):
        stored_config(TrainConfig, path)


def test_every_command_that_reads_a_run_names_the_later_release(
    tmp_path: Path, refusal: Callable[[str], str]
) -> None:
    values = {**yaml.safe_load(to_yaml(TrainConfig())), "telepathy": True}
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(f"# metagenrl 9.1.0\n{yaml.safe_dump(values)}")
    lines = {
        f"train --resume {run}": "resume",
        f"train --config {run / 'config.yaml'} --run-dir {tmp_path / 'new'}": "config",
        f"status {run}": "run",
        f"workspace {run} --out {tmp_path / 'w.json'}": "run",
    }
    for line, name in lines.items():
        assert f"{name}: got '{run / 'config.yaml'}'" in refusal(line)
        assert "metagenrl 9.1.0, which wrote the file, reads it" in refusal(line)


@pytest.mark.parametrize(
    ("release", "than", "newer"),
    [
        ("0.2.0", "0.1.0", True),
        ("0.10", "0.9.3", True),
        ("1.0rc1", "0.9", True),
        ("0.2", "0.2.0", False),
        ("0.1.0", "0.2.0", False),
        ("", "0.1", False),
    ],
)
def test_releases_are_ordered_by_their_numbers(release: str, than: str, newer: bool) -> None:
    assert is_newer(release, than) is newer


@pytest.mark.parametrize(("stacked", "backend"), [(True, "reference"), (False, "auto")])
def test_switches_of_release_0_1_are_read_as_a_backend(
    tmp_path: Path, stacked: bool, backend: str
) -> None:
    values = yaml.safe_load(to_yaml(TrainConfig())) | {"stacked": stacked, "fused": False}
    del values["backend"]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    assert stored_config(TrainConfig, path).backend == backend
