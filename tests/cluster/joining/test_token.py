"""The token of a local Ray: one for all runs of a user, readable by nobody else."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path

import pytest

from metagenrl.cluster.joining.token import ensure_token, without_its_notice


def test_runs_that_begin_together_agree_on_a_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    seen: set[str] = set()
    barrier = threading.Barrier(8)

    def begin() -> None:
        barrier.wait()
        ensure_token()
        seen.add((tmp_path / ".ray" / "auth_token").read_text())

    runs = [threading.Thread(target=begin) for _ in range(8)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [len(token) for token in seen] == [64]
    assert [path.name for path in (tmp_path / ".ray").iterdir()] == ["auth_token"]
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o077 == 0


def test_only_the_notice_that_there_is_one_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Raised by the module of Ray itself, so that other words of it would be seen."""
    setup = importlib.import_module("ray._private.authentication.authentication_token_setup")
    with without_its_notice():
        setup._warn_token_auth_enabled()
        setup._warn_token_auth_disabled()
    setup._warn_token_auth_enabled()
    said = [record.getMessage().split(" for ")[0] for record in caplog.records]
    assert said == ["Token authentication is disabled", "Token authentication is enabled"]
