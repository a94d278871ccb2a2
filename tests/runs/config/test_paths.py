"""Paths of a configuration are absolute and as short as the disk allows."""

from pathlib import Path

import pytest

from metagenrl.base.checks import UsageError
from metagenrl.base.paths import user_path
from metagenrl.runs.config.lone_agents import MetaTestConfig
from metagenrl.runs.config.paths import absolute


def test_a_way_up_is_walked_and_a_link_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "deep")
    monkeypatch.chdir(tmp_path)
    for written, meant in [("link/../run", "far/run"), ("link/run", "link/run"), ("./run", "run")]:
        config = MetaTestConfig(env="Pendulum-v1", objective=written, run_dir=Path(written))
        made = absolute(config)
        assert made.run_dir == tmp_path / meant
        assert made.objective == str(tmp_path / meant)


def test_an_address_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be a folder here, and what is in it is elsewhere than the user thinks."""
    monkeypatch.chdir(tmp_path)
    for address in ("s3://bucket/run", "https://host/a.safetensors", "gs:/bucket"):
        with pytest.raises(UsageError, match=r"out: got '.*' \(an address\), allowed: a path"):
            user_path("out", address)
    assert user_path("out", "a:b") == Path("a:b")
    (tmp_path / "s3:").mkdir()
    assert user_path("out", "s3:/run") == Path("s3:/run")
