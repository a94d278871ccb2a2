"""What is measured of a policy: by hand, on every backend, and shown wherever numbers are shown."""

import io
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from rich.console import Console

from metagenrl.agents.backend.choice import Computing
from metagenrl.agents.cohort import Cohort
from metagenrl.analysis.pictures.meta_training import policies_block
from metagenrl.analysis.run_history import RunHistory
from metagenrl.cluster.view.status import RunStatus
from metagenrl.cluster.view.table import render
from metagenrl.learner.measures import MEASURES, measure
from metagenrl.learner.types import Batch
from metagenrl.runs.rows import AgentRow
from metagenrl.tracking.keys import find_key
from metagenrl.tracking.values import agent_values

ROW = AgentRow(
    time=1.0, round=1, version=1, agent=3, env="E", incarnation=0, steps=20, life=0, life_steps=20,
    state="learning", episodes=0, return_mean=None, return_last=None, episode_length=None, q=None,
    td_loss=None, objective_loss=None, policy_gradient_norm=None, gradient_norm=None,
    value_after=None, lag=0, restarts=0,
    values={each.name: 0.125 * index for index, each in enumerate(MEASURES, 1)},
)  # fmt: skip


def _batch() -> Batch:
    """One segment of two steps, of which the second is padding, then a whole one; two actions."""
    actions = torch.tensor([[[0.5, -1.0], [0.0, 0.0]], [[0.25, 0.25], [-0.5, 1.0]]])
    mask = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    return Batch(torch.zeros(2, 3, 1), actions, mask, torch.zeros(2, 2), mask)


def test_saturated_share_and_mean_action_over_valid_steps() -> None:
    pi = torch.tensor([[[0.99, 0.9], [1.0, 1.0]], [[-0.981, 0.98], [-1.0, 1.0]]])
    found = measure(pi, _batch())
    assert float(found["saturated"]) == pytest.approx(4 / 6)
    assert float(found["action_size"]) == pytest.approx(3.5 / 6)


def test_agents_along_a_leading_axis_are_measured_each_for_itself() -> None:
    one, pi = _batch(), torch.full((2, 2, 2), 0.99)
    both = Batch(*(torch.stack([x, x]) for x in vars(one).values()))
    found = measure(torch.stack([pi, 0 * pi]), both)
    assert found["saturated"].tolist() == pytest.approx([1.0, 0.0])
    assert found["action_size"].tolist() == pytest.approx([3.5 / 6] * 2)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_round_in_eight_is_measured_on_every_backend(backend, member_config, alphas) -> None:
    cohort = Cohort(Computing(backend))
    cohort.add(member_config(), 0, None)
    reports = []
    while len(reports) < 17:
        (report,) = cohort.round([0], alphas(0), 0, 0, {}).reports
        reports += [report] if report.gradient is not None else []
    measured = [report for report in reports if report.values]
    assert len(measured) in (2, 3)
    for report in measured:
        assert report.values.keys() == {each.name for each in MEASURES}
        assert 0 <= report.values["saturated"] <= 1
        assert 0 < report.values["action_size"] < 1


def test_every_measure_is_shown_where_an_agents_numbers_are() -> None:
    values = agent_values(ROW)
    console = Console(file=io.StringIO(), width=200, height=40, color_system=None)
    console.print(render(RunStatus("r", 1, 1, 1.0, 20, 40, None, [ROW]), 200, 40))
    table = console.file.getvalue()
    history = RunHistory()
    history.add(ROW)
    assert len(policies_block(history).panels) == len(MEASURES)
    for each in MEASURES:
        key = f"agent/03/{each.name}"
        assert values[key] == ROW.values[each.name]
        assert find_key(key)[0].meaning == each.meaning
        assert each.heading in table
        (curve,) = history.measures[each.name].values()
        np.testing.assert_array_equal(curve.arrays(), [[20.0], [ROW.values[each.name]]])


def test_a_measure_has_no_name_that_a_row_has() -> None:
    names = [each.name for each in MEASURES]
    assert len({*names} | {field.name for field in fields(AgentRow)}) == len(names) + len(
        fields(AgentRow)
    )


def test_runs_without_measures_have_no_panel_and_dashes() -> None:
    history = RunHistory()
    history.add(replace(ROW, values={}))
    assert policies_block(history).panels == []
