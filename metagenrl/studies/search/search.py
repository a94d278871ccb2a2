"""Runs the points that a chooser suggests, several at a time, each in the queue of the studies."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol

from metagenrl.studies.job import Job
from metagenrl.studies.plan import Plan
from metagenrl.studies.points import Point, name_of
from metagenrl.studies.queue import Runner, Say, run_jobs
from metagenrl.studies.search.points_file import NotedPoints
from metagenrl.studies.search.score import score_of

_REPEATS = 100
"""Suggestions in a row, beside one for each point that is there, of which none is new: the options
have hardly any other points, or none."""


class Chooser(Protocol):
    """Who chooses the next point by the scores of the others; asked from one thread alone."""

    def know(self, point: Point, score: float) -> None:
        """Take into account what was tried before."""

    def suggest(self, number: int) -> Point:
        """The point to be tried under this number."""

    def tell(self, number: int, score: float | None) -> None:
        """What came of that suggestion; None: nothing that counts."""


PlanOf = Callable[[Point], Plan]


def common_jobs(plan: Plan) -> list[Job]:
    """Those that all points need: TD3 and the random objective of a sweep over `train`."""
    return [job for job in plan.jobs if not job.chain]


def own_jobs(plan: Plan) -> list[Job]:
    """Those of the point alone."""
    return [job for job in plan.jobs if job.chain]


class Search:
    """Tries points until so many are noted. A point's jobs run one after the other."""

    def __init__(
        self, noted: NotedPoints, chooser: Chooser, plan_of: PlanOf, runner: Runner, say: Say
    ) -> None:
        self._noted, self._chooser, self._plan_of = noted, chooser, plan_of
        self._runner, self._say = runner, say
        self._number = 0
        self._failed = 0

    def run(self, points: int, at_once: int) -> int:
        """Try what is not finished and then new points; how many of them failed.

        What all points need has to be done. Raises `RunnerClosed` as `run_jobs` does.
        """
        cut = self._know_finished()
        if self._noted.points:
            known = f"{len(self._noted.points)} of {points} points are chosen"
            self._say(f"{known}, {len(cut)} of them are not finished")
        trying: dict[Future[float | None], tuple[Point, int | None]] = {}
        with ThreadPoolExecutor(at_once) as pool:
            try:
                while True:
                    while len(trying) < at_once and (new := self._next(cut, points)) is not None:
                        trying[pool.submit(self._try, new[0])] = new
                    if not trying:
                        break
                    for future in wait(trying, return_when=FIRST_COMPLETED).done:
                        self._note(*trying.pop(future), future.result())
            except BaseException:  # Ctrl-C: the pool would wait for what runs
                self._runner.close()
                raise
        if len(self._noted.points) < points:
            self._say(f"{len(self._noted.points)} points, and no further suggestion is a new one")
        return self._failed

    def _know_finished(self) -> list[Point]:
        """Tell the chooser of the finished points; the others.

        Their scores are taken anew: a sweep with other seeds has others.
        """
        cut = []
        for point in self._noted.points:
            plan = self._plan_of(point)
            score = score_of(plan) if all(job.done for job in own_jobs(plan)) else math.nan
            if math.isnan(score):
                cut.append(point)
            else:
                self._chooser.know(point, score)
            self._noted.note(point, None if math.isnan(score) else score)
        self._noted.write()
        return cut

    def _next(self, cut: list[Point], points: int) -> tuple[Point, int | None] | None:
        """What to try next, with the number of the suggestion that it is; None: nothing."""
        if cut:
            return cut.pop(0), None
        if len(self._noted.points) >= points:
            return None
        for _ in range(len(self._noted.points) + _REPEATS):
            self._number += 1
            point = self._chooser.suggest(self._number)
            if point not in self._noted:
                self._noted.note(point)
                self._noted.write()
                return point, self._number
            self._chooser.tell(self._number, None)  # its score is known, and counts once
        return None

    def _try(self, point: Point) -> float | None:
        """In a thread: the point's score; None where it has none."""
        self._say(f"point: {name_of(point)}")
        plan = self._plan_of(point)
        if run_jobs(own_jobs(plan), 1, self._runner, self._say):
            return None
        score = score_of(plan)
        if math.isnan(score):
            self._say(f"failed: {name_of(point)} (no agent has evaluations up to its last step)")
            return None
        self._say(f"score: {score:.4g} of {name_of(point)}")
        return score

    def _note(self, point: Point, number: int | None, score: float | None) -> None:
        self._noted.note(point, score)
        self._noted.write()
        if score is None:
            self._failed += 1
        if number is not None:
            self._chooser.tell(number, score)
        elif score is not None:
            self._chooser.know(point, score)
