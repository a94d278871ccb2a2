"""A search: how many points, what the chooser is told, going on, and its file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from metagenrl.base.checks import UsageError
from metagenrl.base.files.errors import CorruptFile
from metagenrl.runs.row_codec import to_line
from metagenrl.runs.rows import EvaluationRow
from metagenrl.studies.job import Job
from metagenrl.studies.plan import Condition, Plan
from metagenrl.studies.points import Point
from metagenrl.studies.queue import RunnerClosed
from metagenrl.studies.search.points_file import NotedPoints
from metagenrl.studies.search.search import Search

OPTIONS = {"x": {"low": 0, "high": 9}}


class Listed:
    """A chooser that suggests these values of `x`, the last one for ever."""

    def __init__(self, *values: float) -> None:
        self.values, self.asked = values, 0
        self.known: list[tuple[float, float]] = []
        self.told: dict[int, float | None] = {}

    def know(self, point: Point, score: float) -> None:
        self.known.append((point["x"], score))

    def suggest(self, number: int) -> Point:
        self.asked += 1
        return {"x": self.values[min(number, len(self.values)) - 1]}

    def tell(self, number: int, score: float | None) -> None:
        assert number not in self.told
        self.told[number] = score


class Here:
    """A runner whose agents reach `x` plus their seed; those of `bad` points fail."""

    def __init__(self, bad: Sequence[float] = (), until: int = 100) -> None:
        self.bad, self.until = bad, until
        self.ran: list[tuple[float, int]] = []
        self.closed = False

    def __call__(self, job: Job) -> int:
        if len(self.ran) == self.until:
            raise RunnerClosed
        x, seed = float(job.words[3]), int(job.words[5])
        self.ran.append((x, seed))
        job.folder.mkdir(parents=True, exist_ok=True)
        if x in self.bad:
            return 1
        rows = [EvaluationRow("a", "E-v0", seed, step, x + seed, ()) for step in (0, 10)]
        (job.folder / "evaluations.jsonl").write_text("".join(map(to_line, rows)))
        return 0

    def close(self) -> None:
        self.closed = True


def searched(
    out: Path, chooser: Any, runner: Here, points: int, seeds: int = 1, said: Any = None
) -> int:
    def plan_of(point: Point) -> Plan:
        words = ("--env", "E-v0", "-x", str(point["x"]), "--seed")
        folder = out / str(point["x"])
        jobs = [Job(folder / str(s), (*words, str(s)), chain=f"{s}") for s in range(seeds)]
        folders = tuple(job.folder for job in jobs)
        condition = Condition("v", "E-v0", "selection", folders, variant="v")
        return Plan((Job(out / "common", ("what all points need",)), *jobs), (condition,))

    said = (lambda _: None) if said is None else said
    return Search(NotedPoints(out, OPTIONS), chooser, plan_of, runner, said).run(points, 1)


def noted(out: Path) -> dict[float, float | None]:
    points = json.loads((out / "points.json").read_text())["points"]
    return {one["point"]["x"]: one["score"] for one in points}


def test_every_point_is_tried_once_and_told(tmp_path: Path) -> None:
    chooser, runner = Listed(3, 1, 3, 2, 7), Here()
    assert searched(tmp_path, chooser, runner, 3) == 0
    assert runner.ran == [(3, 0), (1, 0), (2, 0)]
    assert chooser.told == {1: 3.0, 2: 1.0, 3: None, 4: 2.0}  # a repeat counts once
    assert noted(tmp_path) == {3: 3.0, 1: 1.0, 2: 2.0}


def test_a_finished_search_is_known_and_goes_on_with_more_points(tmp_path: Path) -> None:
    searched(tmp_path, Listed(3, 1), Here(), 2)
    chooser, runner = Listed(), Here()
    assert searched(tmp_path, chooser, runner, 2) == 0
    assert (chooser.asked, runner.ran) == (0, [])
    chooser = Listed(5)
    searched(tmp_path, chooser, runner, 3)
    assert chooser.known == [(3, 3.0), (1, 1.0)]
    assert runner.ran == [(5, 0)]


def test_a_point_that_fails_is_told_and_comes_first_the_next_time(tmp_path: Path) -> None:
    said: list[str] = []
    chooser = Listed(3, 1, 4)
    assert searched(tmp_path, chooser, Here(bad=[1]), 3, said=said.append) == 1
    assert chooser.told == {1: 3.0, 2: None, 3: 4.0}
    assert noted(tmp_path) == {3: 3.0, 1: None, 4: 4.0}
    folder = tmp_path / "1" / "0"
    assert f"failed: {folder} (see {folder}.log)" in said
    chooser, runner = Listed(6), Here()
    assert searched(tmp_path, chooser, runner, 4) == 0
    assert runner.ran == [(1, 0), (6, 0)]
    assert chooser.known == [(3, 3.0), (4, 4.0), (1, 1.0)]


def test_what_is_cut_comes_first_the_next_time(tmp_path: Path) -> None:
    runner = Here(until=1)
    with pytest.raises(RunnerClosed):
        searched(tmp_path, Listed(3, 1), runner, 2)
    assert runner.closed
    assert noted(tmp_path) == {3: 3.0, 1: None}
    chooser, again = Listed(), Here()
    assert searched(tmp_path, chooser, again, 2) == 0
    assert (chooser.asked, again.ran) == (0, [(1, 0)])


def test_more_seeds_are_run_and_change_the_scores(tmp_path: Path) -> None:
    searched(tmp_path, Listed(3, 1), Here(), 2)
    runner = Here()
    assert searched(tmp_path, Listed(), runner, 2, seeds=2) == 0
    assert runner.ran == [(3, 1), (1, 1)]
    assert noted(tmp_path) == {3: 3.5, 1: 1.5}
    searched(tmp_path, Listed(), runner, 2, seeds=1)
    assert noted(tmp_path) == {3: 3.0, 1: 1.0}


def test_a_search_ends_where_nothing_is_new(tmp_path: Path) -> None:
    said: list[str] = []
    assert searched(tmp_path, Listed(3, 1), Here(), 5, said=said.append) == 0
    assert noted(tmp_path) == {3: 3.0, 1: 1.0}
    assert said[-1] == "2 points, and no further suggestion is a new one"


def test_a_point_without_a_score_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Here, "__call__", lambda self, job: job.folder.mkdir(parents=True) or 0)
    said: list[str] = []
    chooser = Listed(3)
    assert searched(tmp_path, chooser, Here(), 1, said=said.append) == 1
    assert chooser.told == {1: None}
    assert "failed: x=3 (no agent has evaluations up to its last step)" in said


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "a JSON list, not an object"),
        ("{}", "no options and points of a search"),
        ({"points": [3]}, "3 is no point of"),
        ({"points": [{"point": {"y": 1}, "score": None}]}, "is no point of the options in it"),
        ({"points": [{"point": {"x": "a"}, "score": None}]}, "is no point of the options in it"),
        ({"points": [{"point": {"x": 1}, "score": "a"}]}, "'a' is no score"),
        ({"points": [{"point": {"x": 1}, "score": float("nan")}]}, "nan is no score"),
    ],
)
def test_a_damaged_file_is_refused(text: Any, reason: str, tmp_path: Path) -> None:
    whole = text if isinstance(text, str) else json.dumps({"options": OPTIONS, **text})
    (tmp_path / "points.json").write_text(whole)
    with pytest.raises(CorruptFile, match=reason):
        NotedPoints(tmp_path, OPTIONS)


def test_other_options_are_refused_and_another_order_is_the_same(tmp_path: Path) -> None:
    first = NotedPoints(tmp_path, {"x": [1, 2], "y": [3, 4]})
    first.note({"x": 1, "y": 4}, 2.0)
    first.write()
    again = NotedPoints(tmp_path, {"y": [3, 4], "x": [1, 2]})
    assert list(again.options) == ["x", "y"]  # as the folders of the points are named
    assert again.points == [{"x": 1, "y": 4}]
    with pytest.raises(UsageError, match=r"^random.options: got .*allowed: .*was searched with"):
        NotedPoints(tmp_path, {"x": [1, 2], "y": [3, 5]})
