"""The Grafana dashboard and the W&B workspace: complete, and of keys that exist."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metagenrl.commands.main import main
from metagenrl.runs.config.held_out import HeldOutOptions
from metagenrl.runs.config.train import TrainConfig
from metagenrl.tracking.grafana import PANELS, dashboard
from metagenrl.tracking.keys import KEYS, find_key
from metagenrl.tracking.wandb.account import wandb_id

CONFIG = TrainConfig(envs=("Pendulum-v1", "a/E"), agents=5, held_out=HeldOutOptions(("Hopper-v5",)))


def test_the_file_is_the_dashboard() -> None:
    file = Path(__file__).parents[2] / "docs" / "grafana.json"
    assert json.loads(file.read_text()) == dashboard()


def test_the_dashboard_asks_for_metrics_that_exist_and_panels_do_not_overlap() -> None:
    names = {key.prometheus_name.removeprefix("metagenrl_") for key in KEYS}
    assert {metric for _, _, queries in PANELS for metric, _ in queries} <= names
    places = [tuple(panel["gridPos"].values()) for panel in dashboard()["panels"]]
    assert len({place[:2] for place in places}) == len(PANELS)
    assert all(x + w <= 24 and x % w == 0 and y % h == 0 for x, y, w, h in places)


@pytest.fixture
def panels(
    stored_run: Callable[[TrainConfig], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> list[dict[str, Any]]:
    """The panels of the workspace that the command writes to a file."""
    folder = stored_run(CONFIG)
    (folder / "run.json").write_text(
        json.dumps({"id": "run-1", "created": 1.0, "machine": "m", "versions": {}})
    )
    main(["workspace", str(folder), "--out", str(tmp_path / "workspace.json")])
    assert capsys.readouterr().out == f"workspace: {tmp_path}/workspace.json\n"
    sections = json.loads((tmp_path / "workspace.json").read_text())["section"]
    return [
        panel for section in sections["panelBankConfig"]["sections"] for panel in section["panels"]
    ]


def keys(panels: list[dict[str, Any]]) -> Iterator[str]:
    for panel in panels:
        config = panel["config"]
        yield from config.get("metrics") or ()
        yield from config.get("mediaKeys") or ()


def test_the_workspace_shows_only_keys_that_are_documented(panels: list[dict[str, Any]]) -> None:
    found = {find_key(name)[0].template for name in keys(panels)}
    assert found >= {
        "agent/<agent>/return", "population/<env>/return_median", "population/heat_map",
        "heldout/<env>/return", "meta/gradient_norm", "meta/cosine/<env>", "server/lag",
        "population/restarts", "system/agent_steps_per_s",
    }  # fmt: skip


def test_agents_are_coloured_by_their_environment(panels: list[dict[str, Any]]) -> None:
    titles = {panel["config"].get("chartTitle"): panel["config"] for panel in panels}
    first, second = titles["Return per agent, Pendulum-v1"], titles["Return per agent, a/E"]
    assert first["metrics"] == ["agent/00/return", "agent/02/return", "agent/04/return"]
    assert second["metrics"] == ["agent/01/return", "agent/03/return"]
    colours = [config["overrideColors"] for config in (first, second)]
    assert set(colours[0]) == {f"{wandb_id('run-1')}:{key}" for key in first["metrics"]}
    of_envs = [{json.dumps(c, sort_keys=True) for c in by_key.values()} for by_key in colours]
    assert len(of_envs[0]) == len(of_envs[1]) == 1
    assert of_envs[0] != of_envs[1]


def test_plots_have_environment_steps_as_their_axis(panels: list[dict[str, Any]]) -> None:
    axes = {panel["config"].get("xAxis") for panel in panels if "metrics" in panel["config"]}
    assert axes - {None} == {"steps", "heldout/steps"}


def test_only_populations_are_drawn(panels: list[dict[str, Any]], tmp_path: Path) -> None:
    """Not the runs of held-out tests and agents, which have the same keys."""
    (runs,) = json.loads((tmp_path / "workspace.json").read_text())["section"]["runSets"]
    (rule,) = runs["filters"]["filters"]
    assert (rule["key"], rule["op"], rule["value"]) == (
        {"section": "run", "name": "jobType"}, "=", "population",
    )  # fmt: skip
