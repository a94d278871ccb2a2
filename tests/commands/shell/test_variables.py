"""A variable that a library does not take is named, wherever the library is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metagenrl.base.checks import UsageError
from metagenrl.commands.shell import variables

TEST = "test --objective random --env Pendulum-v1 --seeds 1 --steps 600 --run-dir out"


@pytest.mark.parametrize(
    ("line", "name", "says"),
    [
        ("objective list", "NUMPY_MADVISE_HUGEPAGE", "what numpy takes (invalid literal for int()"),
        ("objective list", "PYTHON_TYRO_BACKEND", "what tyro takes (PYTHON_TYRO_BACKEND=foo not"),
        ("train --engine inprocess --envs Pendulum-v1 --run-dir out", "TORCH_LOGS", "what torch"),
        (TEST, "TORCH_LOGS", "what torch takes (Invalid log settings: foo"),
    ],
)
def test_it_is_named_before_anything_starts(
    line: str, name: str, says: str, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "metagenrl", *line.split()]
    ended = subprocess.run(
        words, env=os.environ | {name: "foo"}, cwd=tmp_path, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert ended.stderr.startswith(f"error: {name}: got 'foo', allowed: {says}")
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PYTHONOPTIMIZE", "2", "unsupported operand type(s) for +=: 'NoneType' and 'str'"),
        ("PYTHONWARNINGS", "error", "`pydantic.config.Extra` is deprecated"),
    ],
)
def test_one_that_ends_rays_other_processes_is_named(
    name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as caught:
        variables.require_importable("ray")
    assert str(caught.value).startswith(f"{name}: got '{value}', allowed: what ray takes ({says}")


def test_what_went_well_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(variables, "_import", lambda library, env: tried.append(env["TORCH_ODD"]))
    for value in ("1", "1", "2"):
        monkeypatch.setenv("TORCH_ODD", value)
        variables.require_importable("torch")
    assert tried == ["1", "2"]


def test_one_that_no_message_speaks_of_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_ODD_KEY", "x" * 9)
    told = "it went wrong"
    monkeypatch.setattr(
        variables, "_import", lambda library, env: told if "TORCH_ODD_KEY" in env else None
    )
    with pytest.raises(UsageError, match=r"^TORCH_ODD_KEY: got \*\*\*, allowed: what torch takes"):
        variables.require_importable("torch")
    monkeypatch.setattr(variables, "_import", lambda library, env: told)
    variables.require_importable("torch")  # no variable is to blame


def test_a_defect_of_our_own_is_none() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile("1 / 0", "ours.py", "exec"))
    assert variables.refused_variable(caught.value) is None
