"""A study's learning curves in one small file, from which its tables can be made again.

CSV, a row an evaluation: who trained the agent (`trained_by`), `environment`, `set`, `meta_seed`
(empty: a hand-made rule), `agent` (its number, from 0), `step` and `mean_return`.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from metagenrl.analysis.learning_curves import curves_of
from metagenrl.base.checks import UsageError
from metagenrl.studies.plan import Condition
from metagenrl.studies.results import Result

COLUMNS = ("trained_by", "environment", "set", "meta_seed", "agent", "step", "mean_return")

_Key = tuple[str, str, str]  # trained_by, environment, set
_Points = dict[int, dict[int, float]]  # by agent: return at each step


def to_curves_csv(results: Sequence[Result], first_seed: int) -> str:
    """Every evaluation of the study; `first_seed` is the first meta-training seed's number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    least = min((curves.seeds.min() for r in results for curves in r.curves.values()), default=0)
    for result in results:
        condition = result.condition
        for place, curves in result.curves.items():
            seed = "" if result.handmade else first_seed + place
            of = (condition.rule, condition.env, condition.set, seed)
            for agent, returns in zip(curves.seeds - least, curves.returns, strict=True):
                for step, value in zip(curves.steps, returns, strict=True):
                    if not math.isnan(value):
                        writer.writerow((*of, agent, int(step), f"{value:.6g}"))
    return text.getvalue()


def read_kept_curves(file: Path, conditions: Iterable[Condition], first_seed: int) -> list[Result]:
    """What `to_curves_csv` wrote, as the results of a recipe's conditions.

    Raises `UsageError` where the file is no such one, or has rows that the recipe has no place for.
    """
    found: dict[_Key, dict[int, _Points]] = {}
    for key, place, agent, step, value in _rows(file, first_seed):
        agents = found.setdefault(key, defaultdict(dict)).setdefault(place, {})
        agents.setdefault(agent, {})[step] = value
    results = []
    for condition in conditions:
        places = found.pop((condition.rule, condition.env, condition.set), {})
        unknown = [place for place in places if not 0 <= place < len(condition.folders)]
        if unknown:
            raise UsageError(
                f"curves: got meta-training seed {first_seed + unknown[0]} of {condition.rule!r}, "
                f"allowed: {len(condition.folders)} from {first_seed}, as the recipe's scale says"
            )
        if places:
            curves = {}
            for place, agents in sorted(places.items()):
                numbers = sorted(agents)
                returns = [agents[number] for number in numbers]
                curves[place] = curves_of(condition.env, condition.rule, numbers, returns)
            results.append(Result(condition, curves))
    if found:
        rule, env, name = next(iter(found))
        raise UsageError(
            f"curves: got {rule!r} in {env} ({name}), allowed: what the recipe's scale compares"
        )
    return results


def _rows(file: Path, first_seed: int) -> Iterator[tuple[_Key, int, int, int, float]]:
    try:
        with open(file, newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise UsageError(f"curves: got {str(file)!r}, allowed: the columns {_columns()}")
            for row in reader:
                yield _parsed(row, first_seed)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"curves: got {str(file)!r} ({reason}), allowed: a CSV file") from error
    except (TypeError, ValueError, csv.Error) as error:
        if isinstance(error, UsageError):
            raise
        where = f"{str(file)!r}, line {reader.line_num}"
        raise UsageError(f"curves: got {where} ({error}), allowed: numbers") from error


def _parsed(row: Mapping[str, str], first_seed: int) -> tuple[_Key, int, int, int, float]:
    place = int(row["meta_seed"]) - first_seed if row["meta_seed"] else 0
    key = (row["trained_by"], row["environment"], row["set"])
    return key, place, int(row["agent"]), int(row["step"]), float(row["mean_return"])


def _columns() -> str:
    return ", ".join(COLUMNS)
