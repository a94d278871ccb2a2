"""Keys and values by hand, and the table that documents them."""

from dataclasses import replace
from pathlib import Path

import pytest

from metagenrl.learner.measures import MEASURES
from metagenrl.runs.rows import AgentRow, EventRow, ObjectiveRow
from metagenrl.runs.run_records import GIVEN_UP, HeldOutRow, ScoreRow, SystemRow
from metagenrl.tracking.keys import KEYS, find_key, markdown, prometheus_metric
from metagenrl.tracking.values import ValueTable, by_agent, return_statistics

AGENT = AgentRow(
    time=1.0, round=10, version=10, agent=0, env="a/E", incarnation=0, steps=20, life=1,
    life_steps=20, state="learning", episodes=1, return_mean=-3.0, return_last=-3.0,
    episode_length=9.0, q=0.5, td_loss=0.1, objective_loss=2.0, policy_gradient_norm=0.7,
    gradient_norm=80.0, value_after=0.6, lag=3, restarts=2,
    values={each.name: 0.5 for each in MEASURES},
)  # fmt: skip
OBJECTIVE = ObjectiveRow(
    time=1.0, round=10, version=10, contributors=2, gradient_norm=0.5, update_norm=0.1,
    alpha_norm=18.0, cosine=0.25, cosine_by_env={"a/E": 0.5}, accepted=9, rejected=2, stale=1,
    duplicate=1, agent_steps=40, agent_steps_per_s=100.0,
)  # fmt: skip
SYSTEM = SystemRow(7200.0, 10, 10, 40, 100.0, 3_000, 1_000, 5, 0.5, 3, 4)
TRIAL = HeldOutRow(1.0, 12, 10, 40, "F", 10_000, 500, 7.0, (6.0, 8.0))
SCORE = ScoreRow(1.0, 12, 10, 40, 8.0, {"F": 8.0}, 10, 8.0, "mean return")
ALL = [AGENT, OBJECTIVE, SYSTEM, TRIAL, replace(TRIAL, seed=10_001, return_mean=9.0), SCORE]


def test_an_agents_values_stand_under_its_number() -> None:
    values = ValueTable(8).values([replace(AGENT, agent=7)])
    assert values["agent/07/return"] == -3.0
    assert (values["agent/07/q"], values["agent/07/steps"], values["agent/07/lag"]) == (0.5, 20, 3)
    assert by_agent(values)["07"]["gradient_norm"] == 80.0
    assert list(by_agent(values)) == ["07"]


def test_the_populations_values_are_over_the_latest_rows_of_each_environment() -> None:
    table = ValueTable(6)
    rows = [replace(AGENT, agent=i, return_mean=float(r)) for i, r in enumerate((1, 2, 4, 100))]
    other = replace(AGENT, agent=4, env="F", return_mean=50.0, state="failed", restarts=0)
    values = table.values([*rows, other, replace(AGENT, agent=5, env="F", return_mean=None)])
    prefix = "population/a-E/return_"
    assert values[f"{prefix}iqm"] == 3.0  # of 2 and 4
    assert values[f"{prefix}median"] == 3.0
    assert (values[f"{prefix}q25"], values[f"{prefix}q75"]) == (1.75, 28.0)
    assert (values[f"{prefix}min"], values[f"{prefix}max"]) == (1.0, 100.0)
    assert values[f"{prefix}mean"] == 107 / 4
    assert values["population/F/return_iqm"] == 50.0
    assert (values["population/restarts"], values["population/learning"]) == (10, 5)
    assert values["steps"] == 20.0
    # An interval without an episode leaves the last return; a new life forgets it.
    assert table.values([replace(rows[3], return_mean=None)])[f"{prefix}max"] == 100.0
    assert table.values([replace(rows[3], return_mean=None, life=2)])[f"{prefix}max"] == 4.0


@pytest.mark.parametrize("count", range(1, 10))
def test_an_interquartile_mean_is_that_of_rliable(count: int) -> None:
    import numpy as np
    from rliable.metrics import aggregate_iqm

    returns = [3.0, -1.0, 12.0, 5.0, 4.0, 90.0, 7.0, -60.0, 2.0][:count]
    assert return_statistics(returns)["iqm"] == pytest.approx(
        float(aggregate_iqm(np.array(returns)[:, None]))
    )


def _event(what: str, agent: int | None) -> EventRow:
    return EventRow(time=1.0, round=10, what=what, agent=agent, message="")


def _steps(table: ValueTable, agent_steps: int) -> float:
    return table.values([replace(OBJECTIVE, agent_steps=agent_steps)])["steps"]


def test_the_axis_goes_on_at_an_agents_pace_when_the_population_changes() -> None:
    table = ValueTable(2)
    assert _steps(table, 40) == 20.0
    table.values([_event("joined", 2), _event("joined", 3), _event("scaled", None)])
    assert [_steps(table, total) for total in (40, 80)] == [20.0, 30.0]
    table.values([_event("left", 3)])
    assert _steps(table, 80 + 9) == 33.0
    tests_of_then = replace(SCORE, agent_steps=60)  # of a version made by four agents
    assert table.values([tests_of_then])["heldout/steps"] == 25.0
    assert table.values([replace(SCORE, agent_steps=20)])["heldout/steps"] == 10.0


def test_who_has_left_counts_no_more() -> None:
    table, rows = ValueTable(3), [replace(AGENT, agent=i, return_mean=float(i)) for i in range(3)]
    assert table.values(rows)["population/a-E/return_max"] == 2.0
    values = table.values([replace(rows[2], steps=30), _event("left", 2), rows[0]])
    assert (values["population/a-E/return_max"], values["population/learning"]) == (1.0, 2)
    assert (values["population/restarts"], values["agent/02/steps"]) == (4, 30)
    assert values["steps"] == 20.0
    assert "steps" not in ValueTable(1).values([AGENT, _event("left", 0)])


def test_versions_and_machine() -> None:
    values = ValueTable(2).values([OBJECTIVE, SYSTEM])
    assert values["steps"] == 20.0  # of one agent
    assert (values["meta/cosine"], values["meta/cosine/a-E"]) == (0.25, 0.5)
    assert (values["meta/accepted"], values["meta/rejected"], values["meta/stale"]) == (9, 2, 1)
    assert (values["objective/version"], values["objective/norm"]) == (10, 18.0)
    assert (values["server/lag"], values["server/lag_max"]) == (0.5, 3)
    assert (values["system/rss"], values["system/hours"]) == (3_000, 2.0)
    assert (values["system/agent_steps_per_s"], values["heldout/waiting"]) == (100.0, 4)


def test_held_out_results_appear_once_a_version_is_complete() -> None:
    table = ValueTable(2)
    assert table.values(ALL[3:5]) == {}
    values = table.values([SCORE])
    assert (values["heldout/F/return"], values["heldout/score"]) == (8.0, 8.0)
    assert (values["heldout/F/return_min"], values["heldout/F/return_max"]) == (7.0, 9.0)
    assert (values["heldout/steps"], values["heldout/best_version"]) == (20.0, 10)


def test_tests_that_were_given_up_are_counted() -> None:
    table = ValueTable(2)
    gone = EventRow(1.0, 12, GIVEN_UP, None, "killed")
    table.values([gone, replace(gone, what="test restarted")])
    assert table.values([gone, SCORE])["heldout/given_up"] == 2.0


def test_the_axis_never_goes_back() -> None:
    """Rows of agents 0 and 1, a life's end, come after a version that the others had reached."""
    table = ValueTable(4)
    rows = [replace(AGENT, agent=agent, steps=100) for agent in range(4)]
    assert table.values(rows)["steps"] == 100.0
    assert table.values([replace(OBJECTIVE, agent_steps=480)])["steps"] == 120.0
    ended = [replace(AGENT, agent=agent, steps=126) for agent in range(2)]
    assert table.values(ended)["steps"] == 120.0  # not (126 + 126 + 100 + 100) / 4
    assert table.values([replace(SYSTEM, agent_steps=520)])["steps"] == 130.0


def test_what_is_not_known_is_left_out() -> None:
    values = ValueTable(1).values([replace(AGENT, return_mean=None, td_loss=None)])
    assert "agent/00/return" not in values
    assert "agent/00/td_loss" not in values
    assert not any(name.startswith("population/a-E") for name in values)


def test_every_key_is_in_the_table_and_every_entry_is_used() -> None:
    used = {find_key(name)[0] for name in ValueTable(1).values(ALL)}
    assert used == {key for key in KEYS if not key.wandb_only}
    with pytest.raises(ValueError, match="key: got 'agent/00/typo'"):
        find_key("agent/00/typo")


def test_the_documentation_is_the_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    assert text == markdown()


def test_axes_are_environment_steps() -> None:
    assert find_key("agent/03/q")[0].axis == "agent/<agent>/steps"
    assert find_key("meta/cosine/E")[0].axis == find_key("server/lag")[0].axis == "steps"
    assert find_key("heldout/E/return")[0].axis == "heldout/steps"


def test_prometheus_metrics_have_labels_for_agents_and_environments() -> None:
    assert prometheus_metric("agent/07/return") == ("metagenrl_agent_return", {"agent": "07"})
    name = "metagenrl_population_return_iqm"
    assert prometheus_metric("population/E/return_iqm") == (name, {"env": "E"})
    # One metric, one set of labels: the mean over environments is one more of them.
    assert prometheus_metric("meta/cosine/E") == ("metagenrl_meta_cosine", {"env": "E"})
    assert prometheus_metric("meta/cosine") == ("metagenrl_meta_cosine", {"env": "all"})
