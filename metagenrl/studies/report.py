"""A study's table (Markdown and CSV) and picture, from whatever is finished."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from metagenrl.analysis.confidence import Interval
from metagenrl.analysis.number_text import markdown_table, score, short, with_interval
from metagenrl.analysis.protocol.chance import (
    share_as_far_apart,
    share_of_agents,
    spread_by_chance,
)
from metagenrl.analysis.protocol.difference import difference
from metagenrl.analysis.protocol.numbers import NAMES, NUMBERS, TITLES, Number
from metagenrl.analysis.protocol.scores import ONE, ZERO, Aggregate, apart
from metagenrl.base.files.atomic import write_atomic
from metagenrl.studies.facts import facts_of
from metagenrl.studies.kept_curves import to_curves_csv
from metagenrl.studies.picture import draw_study
from metagenrl.studies.recipe import RANDOM, Recipe
from metagenrl.studies.results import Overall, Result, overall, scales_of

SETS = ("test", "selection", "meta-training")


def write_report(
    recipe: Recipe,
    results: Sequence[Result],
    out: Path,
    command: str,
    *,
    measured_here: bool = True,
) -> Path:
    """Write `out`.md, `out`.csv, `out`.png and `out`_curves.csv and give the first.

    The machine is named where the results were measured on it. Raises `OSError` where the files
    cannot be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    everything = overalls(results)
    picture = draw_study(recipe, results, everything, out.with_suffix(".png"))
    facts = facts_of(recipe, command, measured_here)
    text = to_markdown(recipe, facts, results, everything, picture)
    curves = to_curves_csv(results, recipe.scale.first_meta_seed)
    write_atomic(out.with_name(f"{out.name}_curves.csv"), [curves.encode()])
    write_atomic(out.with_suffix(".csv"), [to_csv(results, everything).encode()])
    write_atomic(out.with_suffix(".md"), [text.encode()])
    return out.with_suffix(".md")


def overalls(results: Sequence[Result]) -> list[Overall]:
    """Every rule's aggregates over the environments of each set."""
    rules = list(dict.fromkeys(result.condition.rule for result in results))
    found = (overall(results, rule, name) for name in SETS for rule in rules)
    return [each for each in found if each is not None]


def to_markdown(
    recipe: Recipe,
    facts: Sequence[str],
    results: Sequence[Result],
    everything: Sequence[Overall],
    picture: Path | None,
) -> str:
    """The whole report; `facts` are list items that stand above the numbers."""
    parts = [f"# {recipe.title}", "\n".join(facts)]
    for name in SETS:
        of_set = [each for each in everything if each.set == name]
        if of_set:
            parts += [f"## Over the {name} environments", _overall_table(of_set)]
            parts += [each.note for each in of_set if each.note]
            parts += _verdicts(recipe, of_set)
    parts += ["## By environment", *_by_environment(results), *by_seed(results)]
    if picture is not None:
        parts.append(f"![Learning curves, aggregates and profile]({picture.name})")
    return "\n\n".join(parts) + "\n"


def _overall_table(of_set: Sequence[Overall]) -> str:
    header = ("trained by", "environments", "IQM, whole curve", "IQM, last third",
              "optimality gap, last third", "worst / best seed (by chance)", "seeds")  # fmt: skip
    rows = []
    td3 = next((each for each in of_set if each.rule == ONE), None)
    for each in of_set:
        late = each.aggregates.get("late")
        area = each.aggregates.get("area")
        some = late or area
        assert some is not None
        rows.append([
            each.rule, _environments(area, late), _aggregate(area), _aggregate(late),
            "-" if late is None else _scored(late.optimality_gap),
            _spread(each, td3),
            "-" if each.handmade else str(some.seeds),
        ])  # fmt: skip
    return markdown_table(header, rows)


def _environments(area: Aggregate | None, late: Aggregate | None) -> str:
    """Those that the numbers are over; both lists where one has a scale for fewer of them."""
    whole, last = (() if found is None else found.environments for found in (area, late))
    if whole == last or not (whole and last):
        return ", ".join(whole or last)
    return f"whole curve: {', '.join(whole)}; last third: {', '.join(last)}"


def _spread(each: Overall, td3: Overall | None) -> str:
    """The worst seed over the best one; in brackets what agents' noise alone makes of TD3's."""
    late = each.aggregates.get("late")
    if late is None or late.worst_over_best is None:
        return "-"
    chance = None if td3 is None else spread_by_chance(td3.scores["late"], each.scores["late"])
    return score(late.worst_over_best) + ("" if chance is None else f" ({score(chance)})")


def _aggregate(found: Aggregate | None) -> str:
    return "-" if found is None else _scored(found.iqm)


def _scored(interval: Interval) -> str:
    return with_interval(interval.value, interval.low, interval.high, score)


def _verdicts(recipe: Recipe, of_set: Sequence[Overall]) -> list[str]:
    """A line for each pair that the recipe compares: above and below are intervals apart."""
    by_rule = {each.rule: each for each in of_set}
    pairs: Iterator[tuple[str, str]] | Sequence[tuple[str, str]] = recipe.compare
    if not recipe.compare:
        learned = [each.rule for each in of_set if not each.handmade]
        rules = [each.rule for each in of_set if each.handmade]
        pairs = ((first, second) for first in learned for second in rules)
    lines = []
    for pair in pairs:
        first, second = map(_label, pair)
        if first in by_rule and second in by_rule:
            words = [word for n in NUMBERS if (word := _verdict(by_rule, first, second, n))]
            lines += [f"- {first} against {second}: {'; '.join(words)}"] if words else []
    return ["\n".join(lines)] if lines else []


def _label(name: str) -> str:
    return "random objective" if name == RANDOM else name


def _verdict(rules: Mapping[str, Overall], first: str, second: str, number: Number) -> str:
    """Whether the first rule's interval lies above the second's, and how far, in one number."""
    one, other = (rules[rule].aggregates.get(number) for rule in (first, second))
    if one is None or other is None or one.environments != other.environments:
        return ""
    if math.isnan(one.iqm.low + other.iqm.low):
        return f"{NAMES[number]} not compared (a single seed has no interval)"
    word = "not apart"
    if apart(one.iqm, other.iqm):
        word = "above"
    elif apart(other.iqm, one.iqm):
        word = "below"
    text = f"{NAMES[number]} {word}"
    numbers = {rule: each.numbers[number] for rule, each in rules.items()}
    by = difference(numbers, first, second, one.environments)
    return text if by is None else f"{text}, difference {_scored(by)}"


def _by_environment(results: Sequence[Result]) -> Iterator[str]:
    header = ("environment", "set", "trained by", *(TITLES[n] for n in NUMBERS), "seeds", "agents")
    rows = []
    envs = list(dict.fromkeys(result.condition.env for result in results))
    for env in envs:
        for result in (r for r in results if r.condition.env == env):
            numbers = [result.interval(number) for number in NUMBERS]
            texts = ["-" if n is None else with_interval(n.value, n.low, n.high) for n in numbers]
            agents = result.agents("late")
            seeds = "-" if result.handmade else str(len(agents))
            cells = (env, result.condition.set, result.condition.rule, *texts, seeds)
            left = result.unfinished
            rows.append((*cells, str(sum(agents)) + (f" (+{left} unfinished)" if left else "")))
    yield markdown_table(header, rows)
    for number in NUMBERS:
        found = scales_of(results, number)
        yield "\n".join(
            [f"Scores of the {TITLES[number]}:", ""]
            + [f"- {env}: 0 is {short(s.zero)}, 1 is {short(s.one)}" for env, s in found.items()]
            + [f"- {env}: none, {_why(results, env)}" for env in envs if env not in found]
        )


def by_seed(results: Sequence[Result]) -> list[str]:
    """The seeds' means in each environment, and how often agents alone would give as much."""
    rows = []
    for result in results:
        env, found = result.condition.env, result.numbers("late")
        chance = None if result.handmade or found is None else share_as_far_apart(found)
        if found is not None and chance is not None:
            means = ", ".join(short(float(agents.mean())) for agents in found.by_seed().values())
            share = share_of_agents(found)
            of_agents = "-" if share is None else f"{100 * share:.0f} %"
            row = (env, result.condition.rule, means, f"{100 * chance:.0f} %", of_agents)
            rows.append(row)
    header = ("environment", "trained by", "means of the seeds, last third", "by chance",
              "of the agent")  # fmt: skip
    text = (
        "By chance: the share of random assignments of the agents to seeds, within the same number "
        "of agent, that lie as far apart. Of the agent: the share of the variance within a seed "
        "that comes with the agent's number."
    )
    return ["## By meta-training seed", text, markdown_table(header, rows)] if rows else []


def _why(results: Sequence[Result], env: str) -> str:
    """Why there are no scores in this environment."""
    there = {result.condition.rule for result in results if result.condition.env == env}
    missing = [rule for rule in (ZERO, ONE) if rule not in there]
    if missing:
        return f"nothing is there of {' and '.join(missing)}"
    return "TD3 does not beat the random objective there"


def to_csv(results: Sequence[Result], everything: Sequence[Overall]) -> str:
    """A row for each number of each rule: raw by environment, scores over a set's environments."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("set", "environment", "rule", "number", "statistic", "value", "low", "high",
                     "seeds", "agents"))  # fmt: skip
    for result in results:
        for number in NUMBERS:
            interval = result.interval(number)
            agents = result.agents(number)
            condition = result.condition
            if interval is not None:
                name = (condition.set, condition.env, condition.rule, number, "mean return")
                writer.writerow((*name, *_cells(interval), len(agents), sum(agents)))
    for each in everything:
        for number, found in each.aggregates.items():
            of = (each.set, " ".join(found.environments), each.rule, number)
            statistics = {"IQM": found.iqm, "mean": found.mean, "gap": found.optimality_gap}
            for statistic, interval in statistics.items():
                writer.writerow((*of, statistic, *_cells(interval), found.seeds, ""))
    return text.getvalue()


def _cells(interval: Interval) -> list[float | str]:
    ends = (interval.value, interval.low, interval.high)
    return ["" if end != end else end for end in ends]  # NaN: unknown
