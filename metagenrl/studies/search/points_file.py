"""The points of a search with their scores, as `OUT/points.json` keeps them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metagenrl.base.checks import UsageError, brief
from metagenrl.base.files.atomic import write_atomic
from metagenrl.base.files.errors import CorruptFile
from metagenrl.base.files.json_file import read_object
from metagenrl.studies.points import Point, name_of
from metagenrl.studies.recipe import Options

POINTS_FILE = "points.json"


class NotedPoints:
    """What was tried in a folder. The scores of points that are not finished, or failed, are None.

    The file has an object with the searched `options`, as the sweep's file has them, and `points`,
    a list of objects with `point` and `score`.
    """

    def __init__(self, out: Path, options: Options) -> None:
        """Read what is there. Raises `CorruptFile`, and `UsageError` where it has other options."""
        self._path = out / POINTS_FILE
        self.options: Options = _plain(options)
        self._scores: dict[str, float | None] = {}
        self._points: dict[str, Point] = {}
        if not self._path.exists():
            return
        noted, tried = _read(self._path)
        if noted != self.options:
            raise UsageError(
                f"random.options: got {brief(self.options, 200)}, allowed: {brief(noted, 200)}, "
                f"which {str(out)!r} was searched with, or a new folder"
            )
        self.options = noted  # their order is that of the names of all points
        for point, score in tried:
            self.note(point, score)

    @property
    def points(self) -> list[Point]:
        """All of them, in the order in which they were chosen."""
        return list(self._points.values())

    def __contains__(self, point: Point) -> bool:
        return name_of(point) in self._points

    def note(self, point: Point, score: float | None = None) -> None:
        """A point, or its score, is new."""
        self._points[name_of(point)] = point
        self._scores[name_of(point)] = score

    def write(self) -> None:
        """Put what is known into the file, as a whole or not at all."""
        tried = [
            {"point": point, "score": self._scores[name]} for name, point in self._points.items()
        ]
        text = json.dumps({"options": self.options, "points": tried}, default=str, indent=1)
        write_atomic(self._path, [text.encode()])


def _plain(options: Options) -> Options:
    """The options as JSON gives them back."""
    found: Options = json.loads(json.dumps(options, default=str))
    return found


def _read(path: Path) -> tuple[Options, list[tuple[Point, float | None]]]:
    found = read_object(path)
    options, tried = found.get("options"), found.get("points")
    if not isinstance(options, Mapping) or not isinstance(tried, list):
        raise CorruptFile(path, "no options and points of a search")
    return options, [_tried(path, options, one) for one in tried]


def _tried(path: Path, options: Options, one: Any) -> tuple[Point, float | None]:
    tried: Mapping[str, Any] = one if isinstance(one, Mapping) else {}
    point, score = tried.get("point"), tried.get("score")
    if not isinstance(point, Mapping) or not _is_point(options, point):
        raise CorruptFile(path, f"{brief(one)} is no point of the options in it")
    if score is not None and not _is_number(score):
        raise CorruptFile(path, f"{brief(score)} is no score")
    return {name: point[name] for name in options}, score


def _is_point(options: Options, point: Point) -> bool:
    return set(point) == set(options) and all(_fits(options[n], point[n]) for n in options)


def _fits(values: Any, value: Any) -> bool:
    return value in values if isinstance(values, list) else _is_number(value)


def _is_number(value: Any) -> bool:
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return is_one and math.isfinite(value)
