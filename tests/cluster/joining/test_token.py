"""The token of a local Ray: one for all runs of a user, readable by nobody else."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from metagenrl.cluster.joining.token import ensure_token


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
