"""Every value that trackers show, recomputed from the lines of `metrics.jsonl` without our code."""

import json
import math
import re
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metagenrl.tracking.wandb.account import wandb_id

AGENTS = 8
AGENT = {
    "steps": "steps", "return": "return_mean", "episode_length": "episode_length", "q": "q",
    "td_loss": "td_loss", "objective_loss": "objective_loss", "gradient_norm": "gradient_norm",
    "policy_gradient_norm": "policy_gradient_norm", "value_after": "value_after", "lag": "lag",
    "life": "life", "restarts": "restarts",
}  # fmt: skip
MEASURED = ("saturated", "action_size")  # in a row's `values`, by name
OBJECTIVE = {
    "meta/gradient_norm": "gradient_norm", "meta/update_norm": "update_norm",
    "meta/cosine": "cosine", "meta/contributors": "contributors", "meta/accepted": "accepted",
    "meta/rejected": "rejected", "meta/stale": "stale", "meta/duplicate": "duplicate",
    "objective/version": "version", "objective/norm": "alpha_norm",
}  # fmt: skip
SYSTEM = {
    "system/agent_steps_per_s": "agent_steps_per_s", "system/rss": "rss",
    "system/rss_driver": "rss_driver", "system/processes": "processes", "server/lag": "lag_mean",
    "server/lag_max": "lag_max", "heldout/waiting": "held_out_waiting",
}  # fmt: skip
SCORE = {
    "heldout/version": "version", "heldout/score": "score",
    "heldout/best_version": "best_version", "heldout/best_score": "best_score",
}  # fmt: skip
PICTURE = "population/heat_map"
DOCUMENTED = Path(__file__).parents[3] / "docs" / "metrics.md"

Row = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """What a key should show; of those of one round only the last has to be there."""

    round: int
    axis: float
    value: float


Wanted = dict[str, list[Point]]
Shown = dict[str, list[tuple[float, float]]]


class Expected:
    """Goes through the rows in their order and notes what each should show."""

    def __init__(self) -> None:
        self.points: Wanted = defaultdict(list)
        self._steps = 0.0
        self._latest: dict[int, Row] = {}
        self._returns: dict[int, float] = {}
        self._trials: dict[tuple[int, str], list[float]] = defaultdict(list)

    def add(self, row: Row) -> None:
        """Any row but an agent's."""
        if row["kind"] == "objective" and row["version"] % 10 == 0:
            cosines = {f"meta/cosine/{env}": c for env, c in row["cosine_by_env"].items()}
            self._over_steps(row, cosines | _fields(row, OBJECTIVE), row["agent_steps"] / AGENTS)
        elif row["kind"] == "system":
            hours = {"system/hours": row["time"] / 3600}
            self._over_steps(row, hours | _fields(row, SYSTEM), row["agent_steps"] / AGENTS)
        elif row["kind"] == "held_out":
            self._trials[row["version"], row["env"]].append(row["return_mean"])
        elif row["kind"] == "score":
            values = {"heldout/given_up": 0.0} | _fields(row, SCORE)
            for env, mean in row["return_by_env"].items():
                trials = self._trials[row["version"], env]
                found = {"return": mean, "return_min": min(trials), "return_max": max(trials)}
                values |= {f"heldout/{env}/{name}": value for name, value in found.items()}
            axis = row["agent_steps"] / AGENTS
            self._note(row, values | {"heldout/steps": axis}, axis)

    def add_agents(self, rows: list[Row]) -> None:
        """The agents' rows of one round."""
        for row in rows:
            agent = row["agent"]
            if row["life"] != self._latest.get(agent, row)["life"]:
                self._returns.pop(agent, None)
            if row["return_mean"] is not None:
                self._returns[agent] = row["return_mean"]
            self._latest[agent] = row
            values = _fields(row, AGENT) | {k: row.get("values", {}).get(k) for k in MEASURED}
            shown = {f"agent/{agent:02d}/{key}": v for key, v in values.items()}
            self._note(row, shown, row["steps"])
        latest = self._latest.values()
        values = {
            "population/restarts": sum(row["restarts"] for row in latest),
            "population/learning": sum(row["state"] == "learning" for row in latest),
        }
        for env in {row["env"] for row in latest}:
            returns = [v for a, v in self._returns.items() if self._latest[a]["env"] == env]
            if returns:
                values |= {f"population/{env}/return_{k}": v for k, v in _spread(returns).items()}
        self._over_steps(rows[-1], values, float(np.mean([row["steps"] for row in latest])))

    def _over_steps(self, row: Row, values: dict[str, Any], steps: float) -> None:
        self._steps = max(self._steps, steps)  # an axis does not go back
        self._note(row, values | {"steps": self._steps}, self._steps)

    def _note(self, row: Row, values: dict[str, Any], axis: float) -> None:
        for key, value in values.items():
            if value is not None:
                self.points[key].append(Point(row["round"], axis, value))


def _fields(row: Row, fields: dict[str, str]) -> dict[str, Any]:
    return {key: row[field] for key, field in fields.items()}


def _spread(returns: list[float]) -> dict[str, float]:
    """A quarter of the agents, rounded down, is cut off at each end for the mean in the middle."""
    ordered = sorted(returns)
    cut, places = math.floor(len(ordered) / 4), np.linspace(0, 1, len(ordered))
    q25, median, q75 = np.interp([0.25, 0.5, 0.75], places, ordered)
    return {
        "iqm": sum(ordered[cut : len(ordered) - cut]) / (len(ordered) - 2 * cut),
        "median": median, "q25": q25, "q75": q75, "min": ordered[0], "max": ordered[-1],
        "mean": sum(ordered) / len(ordered),
    }  # fmt: skip


@pytest.fixture(scope="module")
def wanted(tracked: Path) -> Wanted:
    rows = [json.loads(line) for line in (tracked / "metrics.jsonl").read_text().splitlines()]
    expected = Expected()
    for (_, of_agents), group in groupby(rows, lambda r: (r["round"], r["kind"] == "agent")):
        if of_agents:
            expected.add_agents(list(group))
        else:
            for row in group:
                expected.add(row)
    return expected.points


def axis_of(key: str) -> str:
    """As docs/metrics.md has it."""
    first, _, rest = key.partition("/")
    if first == "agent":
        return f"agent/{rest[:2]}/steps"
    return "heldout/steps" if first == "heldout" and rest != "waiting" else "steps"


def check(shown: Shown, wanted: Wanted, tolerance: float) -> None:
    """The same keys, and each with the same values at the same steps in the same order."""
    assert set(shown) == set(wanted)
    for key, points in wanted.items():
        every = iter(points)
        found = [next((p for p in every if _same(p, pair, tolerance)), pair) for pair in shown[key]]
        assert [pair for pair in found if not isinstance(pair, Point)] == [], key
        last_of_rounds = {point.round: point for point in points}.values()
        assert [point for point in last_of_rounds if point not in found] == [], key


def _same(point: Point, pair: tuple[float, float], tolerance: float) -> bool:
    return all(
        math.isclose(one, other, rel_tol=tolerance)
        for one, other in zip((point.axis, point.value), pair, strict=True)
    )


def by_key(history: list[Row]) -> Shown:
    """W&B's own keys begin with an underscore; it writes them, and axes, where they are missing."""
    shown: Shown = defaultdict(list)
    for row in history:
        for key, value in row.items():
            if not key.startswith(("_", PICTURE)):
                shown[key].append((row[axis_of(key)], value))
    return shown


def test_every_documented_key_is_compared(wanted: Wanted) -> None:
    """`test/` is that of another command's runs, the picture that of the next test."""
    documented = set(re.findall(r"^\| `(\S+)` \|", DOCUMENTED.read_text(), re.MULTILINE))
    patterns = {key: re.sub("<.*?>", "[^/]+", key) for key in documented}
    compared = {
        key for key, pattern in patterns.items() if any(re.fullmatch(pattern, k) for k in wanted)
    }
    left = {key for key in documented if key.startswith("test/")} | {PICTURE}
    assert documented - compared == left


def test_weights_and_biases_shows_what_the_metrics_say(
    tracked: Path, wanted: Wanted, offline_runs: Callable[[Path], dict[str, Any]]
) -> None:
    group = wandb_id(json.loads((tracked / "run.json").read_bytes())["id"])
    runs = offline_runs(tracked)
    history = runs[group].history()
    check(by_key(history), wanted, 1e-12)
    of_tests = {key: p for key, p in wanted.items() if axis_of(key) == "heldout/steps"}
    check(by_key(runs[f"{group}-held-out"].history()), of_tests, 1e-12)
    assert [row["_step"] for row in history] == sorted({row["_step"] for row in history})
    picture = runs[group].file.parent / "files" / history[-1][f"{PICTURE}/path"]
    assert picture.read_bytes() == (tracked / "wandb" / "heat_map.png").read_bytes()


def test_tensorboard_shows_what_the_metrics_say(tracked: Path, wanted: Wanted) -> None:
    """At whole steps and in 32 bits, and axes not by themselves."""
    (file,) = tracked.glob("tensorboard/events.out.tfevents.*")
    shown: Shown = defaultdict(list)
    for event in _events(file.read_bytes()):
        for value in event.summary.value:
            shown[value.tag].append((event.step, value.simple_value))
    rounded = {
        key: [Point(p.round, round(p.axis), p.value) for p in points]
        for key, points in wanted.items()
        if key != axis_of(key)
    }
    check(shown, rounded, 1e-6)


def _events(data: bytes) -> Iterator[Any]:
    """Length, its checksum, the event, its checksum; and so on."""
    from tensorboardX.proto.event_pb2 import Event

    at = 0
    while at < len(data):
        (length,) = struct.unpack("<Q", data[at : at + 8])
        yield Event.FromString(data[at + 12 : at + 12 + length])
        at += 16 + length
