"""Users without a home that can be written to, as containers give them to any user id."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from metagenrl.cluster.joining.token import ensure_token
from metagenrl.commands.shell.home import settle_home

NAMES = ("HOME", "MPLCONFIGDIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR")


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Nothing says where anything is written, and a temporary folder."""
    for name in (*NAMES, "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # for its old value to come back
        monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", "/dev/null/home")
    return monkeypatch


def test_an_unwritable_home_is_replaced_for_libraries_alone(
    container: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / f"metagenrl-{os.getuid()}"
    container.setenv("WANDB_CACHE_DIR", "/mine")
    note = settle_home()
    assert note is not None
    assert "'/dev/null/home' cannot be written to" in note
    assert str(folder) in note
    assert [os.environ.get(name) for name in NAMES] == [
        "/dev/null/home",
        f"{folder}/matplotlib",
        f"{folder}/wandb/config",
        "/mine",
        f"{folder}/wandb/data",
    ]
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert (len(token.read_text()), token.stat().st_mode & 0o077) == (64, 0)
    container.delenv("RAY_AUTH_TOKEN_PATH")
    first = token.read_text()
    settle_home()  # in another terminal
    assert Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text() == first


def test_no_home_at_all(container: pytest.MonkeyPatch, tmp_path: Path) -> None:
    container.delenv("HOME")
    container.setattr("pwd.getpwuid", {}.__getitem__)  # a user id without a name
    ensure_token()  # a program's own call: Ray says what it cannot write
    note = settle_home()
    assert note is not None
    assert "HOME: there is none" in note
    assert Path(os.environ["HOME"]).parent == tmp_path


def test_a_home_that_can_be_written_to_stays(container: pytest.MonkeyPatch, tmp_path: Path) -> None:
    container.setenv("HOME", str(tmp_path / "made" / "later"))
    assert settle_home() is None
    assert not {*NAMES, "RAY_AUTH_TOKEN_PATH"} & set(os.environ) - {"HOME"}


def test_what_another_user_made_is_not_taken(container: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / f"metagenrl-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    assert settle_home() is None
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ
