"""Reports of rounds to rows of intervals, by hand-made reports."""

import json

import numpy as np
import pytest

from metagenrl.agents.experience.rollout import Episode
from metagenrl.agents.reports import MemberReport
from metagenrl.cluster.recording.agent_rows import IntervalAccumulator
from metagenrl.learner.types import AlphaGradient
from metagenrl.runs.rows import Moment

NAN = float("nan")


def report(steps: int, *episodes: Episode, agent: int = 0, **changes) -> MemberReport:
    fields = {
        "env_id": "E", "incarnation": 0, "life": 0, "life_steps": steps, "gradient": None,
        "q": NAN, "td_loss": NAN, "objective_loss": NAN, "policy_gradient_norm": NAN,
        "value_after": NAN,
    } | changes  # fmt: skip
    return MemberReport(agent=agent, steps=steps, episodes=episodes, **fields)


def gradient(version: int, norm: float) -> AlphaGradient:
    return AlphaGradient("run", 0, 0, 1, version, np.ones(2, np.float32), norm, "E")


def moment(round: int) -> Moment:
    return Moment(time=round / 10, round=round, version=round)


def test_a_row_sums_up_its_interval() -> None:
    intervals = IntervalAccumulator(6, ["E"])
    assert intervals.add(report(2, Episode(10.0, 4), q=1.0), moment(1)) == []
    learned = report(4, q=NAN, gradient=gradient(1, 8.0), value_after=5.0)
    assert intervals.add(learned, moment(2)) == []
    last = report(6, Episode(40.0, 2), q=4.0, gradient=gradient(1, 2.0), value_after=7.0)
    (row,) = intervals.add(last, moment(3))
    assert (row.episodes, row.return_mean, row.return_last, row.episode_length) == (2, 25, 40, 3)
    assert (row.q, row.value_after, row.td_loss) == (2.5, 6.0, None)  # means of finite values
    assert (row.gradient_norm, row.lag) == (5.0, 2)  # version 3 at the server, 1 in the gradient
    assert (row.time, row.round, row.steps, row.env, row.state) == (0.3, 3, 6, "E", "learning")


def test_an_interval_begins_empty() -> None:
    intervals = IntervalAccumulator(2, ["E"])
    assert intervals.add(report(2, Episode(10.0, 4), q=1.0), moment(1))[0].episodes == 1
    (row,) = intervals.add(report(4), moment(2))
    assert (row.episodes, row.return_mean, row.return_last, row.q) == (0, None, None, None)


def test_rows_fall_on_multiples_even_where_rounds_step_over_them() -> None:
    intervals = IntervalAccumulator(5, ["E"])
    rows = [row for steps in range(2, 22, 2) for row in intervals.add(report(steps), moment(1))]
    assert [row.steps for row in rows] == [6, 10, 16, 20]


def test_a_life_ends_its_interval() -> None:
    intervals = IntervalAccumulator(10, ["E"])
    intervals.add(report(2, Episode(5.0, 2)), moment(1))
    rows = intervals.add(report(4, Episode(1.0, 2), life=1, life_steps=2), moment(2))
    assert [(row.life, row.steps, row.life_steps, row.return_mean) for row in rows] == [
        (0, 2, 2, 5.0)
    ]
    for steps in (6, 8):
        assert intervals.add(report(steps, life=1, life_steps=steps - 2), moment(3)) == []
    (row,) = intervals.add(report(10, life=1, life_steps=8), moment(3))
    assert (row.life, row.life_steps, row.return_mean) == (1, 8, 1.0)


def test_a_new_life_that_ends_an_interval_gives_two_rows() -> None:
    intervals = IntervalAccumulator(4, ["E"])
    intervals.add(report(2), moment(1))
    rows = intervals.add(report(4, life=1, life_steps=2), moment(2))
    assert [(row.life, row.steps) for row in rows] == [(0, 2), (1, 4)]


def test_a_restart_drops_what_will_be_repeated() -> None:
    intervals = IntervalAccumulator(10, ["E"])
    intervals.add(report(8, Episode(5.0, 2)), moment(1))
    intervals.mark(0, "restarting", restarts=1)
    (now,) = intervals.current(moment(1))
    assert (now.state, now.restarts) == ("restarting", 1)
    assert intervals.add(report(6, incarnation=1), moment(2)) == []
    intervals.add(report(8, Episode(7.0, 2), incarnation=1), moment(3))
    (row,) = intervals.add(report(10, incarnation=1), moment(4))
    assert (row.episodes, row.return_mean, row.incarnation) == (1, 7.0, 1)
    assert (row.state, row.restarts) == ("random", 1)


def test_every_agent_is_shown_from_the_start_and_has_its_own_interval() -> None:
    intervals = IntervalAccumulator(4, ["E", "F", "E"])
    intervals.add(report(2, Episode(3.0, 1), agent=2), moment(1))
    rows = intervals.current(moment(1))
    assert [(row.agent, row.env, row.state) for row in rows] == [
        (0, "E", "starting"), (1, "F", "starting"), (2, "E", "random"),
    ]  # fmt: skip
    assert [row.return_mean for row in rows] == [None, None, 3.0]
    assert [row.agent for row in intervals.finish(moment(2))] == [2]
    assert intervals.finish(moment(2)) == []


def test_a_restored_accumulator_writes_the_same_rows() -> None:
    one, two = IntervalAccumulator(6, ["E"]), IntervalAccumulator(6, ["E"])
    one.add(report(2, Episode(10.0, 4), q=1.0), moment(1))
    two.load_state_dict(json.loads(json.dumps(one.state_dict())))
    for intervals in (one, two):
        intervals.add(report(4, q=3.0, gradient=gradient(2, 1.0)), moment(2))
    rows = [intervals.add(report(6, Episode(20.0, 2)), moment(3)) for intervals in (one, two)]
    assert rows[0] == rows[1]
    assert (rows[0][0].return_mean, rows[0][0].q) == (15.0, 2.0)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="log_every: got 0"):
        IntervalAccumulator(0, ["E"])
    with pytest.raises(ValueError, match="intervals: got 1, allowed: 2"):
        IntervalAccumulator(1, ["E", "E"]).load_state_dict(
            IntervalAccumulator(1, ["E"]).state_dict()
        )


def test_measures_go_by_name_into_the_row() -> None:
    intervals = IntervalAccumulator(6, ["E"])
    intervals.add(report(2, values={"spread": 1.0}), moment(1))
    intervals.add(report(4), moment(2))  # not every update is measured
    (row,) = intervals.add(report(6, values={"spread": 4.0, "odd": NAN}), moment(3))
    assert row.values == {"spread": 2.5}
    assert intervals.add(report(12), moment(4))[0].values == {}
