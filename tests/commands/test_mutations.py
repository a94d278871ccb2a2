"""Random mutations of valid command lines and YAML files: one line, or a command that starts.

The commands themselves only record that they were reached (`started`), so that thousands of lines
are tried in a minute.
"""

import contextlib
import io
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metagenrl.commands.main import main
from metagenrl.commands.parsing import accepted_flags
from metagenrl.commands.table import COMMANDS, META_LEARNERS
from metagenrl.runs.config.presets import PRESETS
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_dict

_LINES = (
    "train --preset quickstart --envs Pendulum-v1 --agents 2 --run-dir new",
    "train --resume {run} --steps 700000",
    "train --config {yaml} --run-dir new",
    "test --objective random --env Pendulum-v1 --seeds 2 --run-dir new",
    "test --objective {run} --env Pendulum-v1 --run-dir new",
    "baseline --algo td3 --env Pendulum-v1 --transitions 64 --run-dir new",
    "baseline --algo rl2 --phase train --envs Pendulum-v1 --run-dir new",
    "baseline --algo epg --phase train --env Pendulum-v1 --wandb disabled --run-dir new",
    "objective show {run}/objectives/objective-00000030.safetensors",
    "objective list",
    "compare {run} --out new",
    "report {run} --out new",
    "explain {run} --env Pendulum-v1 --steps 10 --out new",
    "top {run} --once",
    "workspace {run} --out new",
    "status {run} --timeout 1",
    "scale {run} --agents 3",
)
_WORDS = (
    "", "-", "--", "-1", "0", "1e400", "nan", "inf", "9" * 30, "9" * 5000, "none", "x" * 300,
    "true",     "a/" * 3000, "\udcff", "\0", "ü", "Pendulum-v9", "Pendulum-v1",
    "nowhere:E-v0", "..",
    "/",     "{run}",     "/dev/null", "/proc/1/mem", "redis://", "redis://h:p", "redis://h:99999999/0",
    "[1, 2]", "=",
    "--seed=", "--help", "-h", "--version", "²", "٣", "1_0", "0x10", "auto", "random", "best",
)  # fmt: skip
_TEXT = st.sampled_from(_WORDS) | st.text(max_size=12)


@pytest.fixture
def nothing_runs(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """As `started`, for every command."""

    def record(config: Any) -> int:
        started.append(config)
        return 0

    for table in (COMMANDS, META_LEARNERS):
        for name, command in table.items():
            stub = SimpleNamespace(**(vars(command) | {"run": record}))
            monkeypatch.setitem(table, name, stub)
    return started


def outcome(words: list[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
    return code, out.getvalue(), err.getvalue()


def check(words: list[str], started: list[Any], folder: Path) -> None:
    """Refused in one line with nothing started or written, started, or something was shown."""
    started.clear()
    before = sorted(folder.rglob("*"))
    code, out, err = outcome(words)
    assert sorted(folder.rglob("*")) == before, words
    if code == 0:
        assert started or out, words
        return
    assert code == 2, words
    assert started == [], words
    assert out == "", words
    assert err.startswith("error: "), (words, err)
    assert err.count("\n") == 1, (words, err)


def mutated(words: list[str], flags: list[str], draw: Callable[[Any], Any]) -> list[str]:
    """The words with one to three of them dropped, doubled, replaced, moved, or put in."""
    words = list(words)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(words)))
        how = draw(
            st.sampled_from(["drop", "double", "replace", "insert", "flag", "letter", "swap"])
        )
        if how == "drop":
            del words[at : at + 1]
        elif how == "double":
            words[at:at] = words[at : at + 1]
        elif how == "replace":
            words[at : at + 1] = [draw(_TEXT)]
        elif how == "insert":
            words.insert(at, draw(_TEXT))
        elif how == "flag":
            words[at:at] = [draw(st.sampled_from(flags)), draw(_TEXT)]
        elif how == "letter" and words[at : at + 1]:
            cut = draw(st.integers(0, len(words[at])))
            words[at] = words[at][:cut] + draw(_TEXT) + words[at][cut + 1 :]
        elif how == "swap":
            random.Random(draw(st.integers(0, 9))).shuffle(words)
    return words


@settings(
    max_examples=1500, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_command_lines(
    data: st.DataObject, nothing_runs: list[Any], stored_run: Callable[[TrainConfig], Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    run, file = tmp_path / "run", tmp_path / "config.yaml"
    if not run.exists():
        stored_run(PRESETS["quickstart"].train)
        file.write_text(yaml.safe_dump(to_dict(PRESETS["quickstart"].train)))
    line = data.draw(st.sampled_from(_LINES)).split()
    name = " ".join(line[: 2 if line[0] == "objective" else 1])
    flags = list(accepted_flags(COMMANDS[name].config_class))
    words = mutated(line, flags, data.draw)
    words = [word.replace("{run}", str(run)).replace("{yaml}", str(file)) for word in words]
    check(words, nothing_runs, tmp_path)


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=4,
)


@settings(
    max_examples=1500, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_yaml_files(data: st.DataObject, nothing_runs: list[Any], tmp_path: Path) -> None:
    values = to_dict(PRESETS["quickstart"].train) | {"envs": ["Pendulum-v1"], "run_dir": "new"}
    for _ in range(data.draw(st.integers(1, 2))):
        within = data.draw(
            st.sampled_from([values, *(v for v in values.values() if isinstance(v, dict))])
        )
        key = data.draw(st.sampled_from(list(within) or ["x"]) | _TEXT)
        within[key] = data.draw(_VALUES)
    try:
        text = yaml.safe_dump(values, allow_unicode=True).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(text)))
        noise = data.draw(
            st.sampled_from(
                [b"\xff", b"\t", b"[", b"{a: *b}", b"? ", b"&a [*a]", b"\0", b"%", b"<<: 1"]
            )
        )
        text = text[:cut] + noise + text[cut + data.draw(st.integers(0, 5)) :]
    file = tmp_path / "config.yaml"
    file.write_bytes(text)
    check(["train", "--config", str(file)], nothing_runs, tmp_path)
