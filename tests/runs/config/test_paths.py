"""Paths of a configuration are absolute and as short as the disk allows."""

from pathlib import Path

import pytest

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
