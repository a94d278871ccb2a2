"""Sections are measured alone, keep the others, and fail alone."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bench, server_rate
from benchmarks.population import PopulationOptions, population_config
from metagenrl.base.messages import AlphaGradient, CohortGradient


@pytest.fixture
def quick_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_rate, "POPULATIONS", (4,))
    monkeypatch.setattr(server_rate, "SECONDS", 0.0)
    monkeypatch.setattr(server_rate, "PARAMETERS", 50)


@pytest.mark.usefixtures("quick_server")
def test_a_section_keeps_what_the_file_has_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "b.json"
    out.write_text(json.dumps({"precision": {"rows": [1]}, "server": {"rows": []}}))
    assert bench.main(["--only", "server", "--out", str(out)]) == 0
    written = json.loads(out.read_text())
    assert written["precision"] == {"rows": [1]}
    rows = written["server"]["rows"]
    assert [(row["agents"], row["cohort"]) for row in rows] == [(4, 1), (4, server_rate.COHORT)]
    assert all(row["gradients_per_cpu_s"] > 0 for row in rows)
    assert "gradients_per_s" in capsys.readouterr().out


@pytest.mark.usefixtures("quick_server")
def test_a_section_that_fails_costs_the_others_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, python = tmp_path / "b.json", tmp_path / "no-python"
    words = ["--only", "jax", "server", "--jax-python", str(python), "--out", str(out)]
    assert bench.main(words) == 1
    assert list(json.loads(out.read_text())) == ["server"]
    assert "error: jax:" in capsys.readouterr().err


def test_cohorts_of_simulated_agents_are_the_same_agents() -> None:
    alone, together = server_rate._messages(10, 1), server_rate._messages(10, 3)
    assert [len(alone), len(together)] == [10, 4]
    total = sum(np.asarray(m.gradient, np.float64) * m.weight for m in together)
    np.testing.assert_allclose(total, sum(m.gradient for m in alone), atol=1e-5)
    moved = [server_rate._for_round(message, 7) for message in (alone[0], together[0])]
    assert isinstance(moved[0], AlphaGradient)
    assert isinstance(moved[1], CohortGradient)
    assert {(m.round, m.version, m.shares[0].version) for m in moved} == {(7, 7, 7)}


def test_a_population_learns_from_its_first_rounds(tmp_path: Path) -> None:
    config = population_config(PopulationOptions(20, "auto", "small"), tmp_path)
    assert config.agent.learning_starts == 2 * config.agent.batch_size
    assert (config.agents, config.agents_per_actor, config.meta.lifetime) == (20, "auto", 0)
