"""Rows as lines of JSON and back."""

import itertools
import json
import math
from dataclasses import replace
from typing import get_type_hints

import pytest
from fixtures.rows import AGENT, EVENT, OBJECTIVE

from metagenrl.cluster.recording.lost_round import objective_row
from metagenrl.objective_server.aggregate import Cosines
from metagenrl.objective_server.answers import RoundReport, Totals
from metagenrl.runs.row_codec import from_line, to_line
from metagenrl.runs.rows import AgentRow, EvaluationRow, ObjectiveRow

EVALUATION = EvaluationRow("td3", "Pendulum-v1", 0, 1000, -200.0, (-150.0, -250.0))


MEASURED = replace(AGENT, values={"spread": 0.25})


@pytest.mark.parametrize("row", [AGENT, MEASURED, OBJECTIVE, EVENT, EVALUATION])
def test_a_row_survives_its_line(row) -> None:
    line = to_line(row)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert json.loads(line)["kind"] == row.kind
    assert from_line(line) == row


def test_what_is_not_finite_is_null() -> None:
    line = to_line(EvaluationRow("td3", "E", 0, 1, math.nan, (math.inf, 1.0)))
    assert json.loads(line)["return_mean"] is None
    assert from_line(line) == EvaluationRow("td3", "E", 0, 1, None, (None, 1.0))
    by_env = json.loads(to_line(OBJECTIVE).replace("0.5}", "NaN}"))["cosine_by_env"]
    nan_row = ObjectiveRow(**{**vars(OBJECTIVE), "cosine_by_env": by_env})
    assert json.loads(to_line(nan_row))["cosine_by_env"] == {"Pendulum-v1": None}


def test_fields_of_a_later_version_are_ignored() -> None:
    assert from_line(to_line(EVENT)[:-2] + ', "later": 1}') == EVENT


def test_a_row_of_a_release_without_measures_has_none() -> None:
    assert "values" not in json.loads(to_line(AGENT))
    assert from_line(to_line(AGENT)).values == {}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("[1, 2]", "not a JSON object"),
        ('{"kind": "agnet"}', "kind: got 'agnet'"),
        ('{"kind": "event", "time": 1.0, "round": 2, "what": "x"}', "agent, message missing"),
        ('{"kind": "eve', "Unterminated string"),
        (to_line(replace(EVALUATION, steps=-1)), "steps: got -1, allowed: 0 or more"),
    ],
)
def test_what_is_no_row_is_refused(line: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        from_line(line)


WRONG = (
    "text", True, 1.5, None, [], [1], ["a"], {}, {"E": "x"}, 10**30, 10**400, "\ud800", math.nan,
)  # fmt: skip
NONE = type(None)
TYPES = {
    float: {float, int}, int: {int}, str: {str}, float | None: {float, int, NONE},
    int | None: {int, NONE}, str | None: {str, NONE},
}  # fmt: skip


@pytest.mark.parametrize("row", [MEASURED, OBJECTIVE, EVENT, EVALUATION])
def test_a_value_of_another_type_is_refused(row) -> None:
    values, hints = json.loads(to_line(row)), get_type_hints(type(row))
    told: list[tuple[str, str]] = []
    for name, wrong in itertools.product(values, WRONG):
        try:
            found = vars(from_line(json.dumps(values | {name: wrong})))[name]
        except ValueError as error:
            told.append((name, str(error)))
            continue
        assert type(found) in TYPES.get(hints[name], {tuple, dict}), (name, wrong)
        assert wrong not in (["a"], [1], {"E": "x"}, 10**400, "\ud800") or hints[name] in (
            tuple[str, ...] if wrong == ["a"] else tuple[float, ...],
        ), (name, wrong)
    assert len(told) > 8 * len(values)
    assert all(f"{name}: got " in line and line.isascii() for name, line in told)


def test_a_line_without_a_kind_is_of_the_kind_given() -> None:
    line = to_line(EVALUATION).replace('"kind": "evaluation", ', "")
    assert from_line(line, "evaluation") == EVALUATION
    with pytest.raises(ValueError, match="kind: got None"):
        from_line(line)


def test_objective_row_of_a_round() -> None:
    report = RoundReport(10, True, (0, 1), (), 0.5, 0.25, Cosines(None, {"E": 0.75}))
    row = objective_row(
        report, Totals(11, 5, 2, 2), version=8, alpha_norm=18.0, time=3.0, agent_steps=32,
        agent_steps_per_s=None,
    )  # fmt: skip
    assert (row.accepted, row.rejected, row.stale, row.duplicate) == (11, 5, 2, 2)
    assert (row.round, row.version, row.contributors) == (10, 8, 2)
    assert (row.cosine, row.cosine_by_env) == (None, {"E": 0.75})
    assert (row.gradient_norm, row.update_norm) == (0.5, 0.25)


def test_rows_of_before_a_field_with_a_default_was_added_are_read() -> None:
    line = json.loads(to_line(AGENT))
    del line["origin"]
    row = from_line(json.dumps(line))
    assert isinstance(row, AgentRow)
    assert (row.origin, row.q) == (None, AGENT.q)
