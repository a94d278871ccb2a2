"""The runs of a comparison: reading them, and refusing to mix what cannot be compared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from metagenrl.analysis.compare.same import episodes, labels, learning_starts, require_distinct
from metagenrl.analysis.compare.scores import Scores
from metagenrl.analysis.learning_curves import Curves, group_curves
from metagenrl.analysis.report.discover import TestRun, find_runs
from metagenrl.base.checks import UsageError
from metagenrl.runs.kinds import what_is_there
from metagenrl.runs.rows import EvaluationRow

_VERSION = re.compile(r"-v(\d+)$")


@dataclass(frozen=True)
class TestedRow:
    """An evaluation and the run that it is from."""

    __test__ = False  # for pytest, which takes the name for a test's

    run: TestRun
    row: EvaluationRow


def read_rows(folders: Sequence[Path]) -> list[TestedRow]:
    """All evaluations of the runs that the folders are or hold.

    Raises `UsageError` for a folder that has none.
    """
    for folder in folders:
        if not folder.is_dir():
            raise _refused(folder, "a file" if folder.exists() else "no such folder")
    rows: dict[Path, list[TestedRow]] = {}
    for folder in folders:
        runs = find_runs([folder])
        for path, why in runs.damaged.items():
            raise _refused(path, why)
        if not runs.tests:
            raise _refused(folder, what_is_there(folder) or "holds no run of these commands")
        for run in runs.tests:
            rows[run.path.resolve()] = [TestedRow(run, row) for row in run.rows()]
            if not rows[run.path.resolve()]:
                raise _refused(run.path, "there is no evaluation in it")
    return [row for of_run in rows.values() for row in of_run]


def _refused(folder: Path, reason: str) -> UsageError:
    return UsageError(
        f"runs: got {str(folder)!r} ({reason}), allowed: folders of `metagenrl test` and "
        "`metagenrl baseline`, or that hold such"
    )


def comparable(
    rows: Sequence[TestedRow],
    mix_steps: bool,
    mix_versions: bool,
    named: bool = False,
    flags: bool = True,
) -> list[Scores]:
    """Each rule's curve in each environment, cut at the step where all are compared.

    Raises `UsageError` where runs in an environment have different numbers of steps, unless
    `mix_steps`: then they are compared at the last step that all runs have an evaluation of a
    trained policy at. The same for versions of an environment, which count as one with
    `mix_versions`. Rules that share a label and differ are told apart by what differs; an agent
    that two folders hold is refused. `named`: the rows' labels say already which rule it is;
    `flags`: the command has options that allow both.
    """
    if not named:
        own = labels(list({tested.run.path: tested.run for tested in rows}.values()))
        rows = [replace(t, row=replace(t.row, label=own[t.run.path])) for t in rows]
    versions = _versions(rows)
    mixed = {name: ids for name, ids in versions.items() if len(ids) > 1}
    if mixed and not mix_versions:
        option = "--allow-env-versions" if flags else ""
        raise UsageError(_difference("env", next(iter(mixed.values())), option))
    if mixed:
        rows = [_renamed(tested, mixed) for tested in rows]
    for env in dict.fromkeys(tested.row.env for tested in rows):
        steps = _folders_by_steps([tested for tested in rows if tested.row.env == env])
        if len(steps) > 1 and not mix_steps:
            option = "--allow-steps to compare at the last common step" if flags else ""
            raise UsageError(f"{_difference('steps', steps, option)} (in {env})")
    require_distinct([(t.row.label, t.row.env, t.row.seed, t.run.path) for t in rows])
    return _scores(rows)


def _versions(rows: Sequence[TestedRow]) -> dict[str, dict[str, Path]]:
    """Environment without its version -> identifier -> a run in it."""
    versions: dict[str, dict[str, Path]] = {}
    for tested in rows:
        env = tested.row.env
        versions.setdefault(_VERSION.sub("", env), {}).setdefault(env, tested.run.path)
    return versions


def _folders_by_steps(rows: Sequence[TestedRow]) -> dict[str, Path]:
    return {str(tested.run.steps): tested.run.path for tested in reversed(rows)}


def _difference(field: str, values: Mapping[str, Path], flag: str) -> str:
    got = " and ".join(f"{value} ({path})" for value, path in values.items())
    return f"{field}: got {got}, allowed: the same in all runs{flag and f', or {flag}'}"


def _renamed(tested: TestedRow, mixed: Mapping[str, Mapping[str, Path]]) -> TestedRow:
    """The row under a name that lists the versions that are mixed."""
    name = _VERSION.sub("", tested.row.env)
    if name not in mixed:
        return tested
    found = (_VERSION.search(env) for env in sorted(mixed[name]))
    listed = ", ".join(f"v{match[1]}" if match else "no version" for match in found)
    return TestedRow(tested.run, replace(tested.row, env=f"{name} ({listed})"))


def _scores(rows: Sequence[TestedRow]) -> list[Scores]:
    scores = []
    for env in dict.fromkeys(tested.row.env for tested in rows):
        of_env = [tested for tested in rows if tested.row.env == env]
        end = _last_common_step(of_env)
        kept = [t for t in of_env if t.row.steps <= end]
        curves = group_curves((t.row.label, t.run.path, t.row) for t in kept)
        scores += [
            Scores(replace(c, absent=_absent(c, of_env)), end, _episodes(c, of_env)) for c in curves
        ]
    return scores


def _absent(curve: Curves, rows: Sequence[TestedRow]) -> int:
    """Agents of the rule that failed before their first evaluation."""
    runs = {t.run.path: t.run.agents for t in rows if t.row.label == curve.label}
    return max(0, sum(runs.values()) - len(curve.returns))


def _episodes(curve: Curves, rows: Sequence[TestedRow]) -> int | None:
    """Episodes of each of the rule's evaluations, which its label tells apart."""
    return episodes(next(t.run for t in rows if t.row.label == curve.label))


def _last_common_step(rows: Sequence[TestedRow]) -> int:
    """Of one environment: the end of all runs, or the last step that all runs have before it.

    Raises `UsageError` where no policy has learned by then.
    """
    end = min(tested.run.steps for tested in rows)
    runs = {tested.run.path: tested.run for tested in rows}
    begin = {path: learning_starts(run) for path, run in runs.items()}
    path, latest = max(begin.items(), key=lambda found: found[1])
    if len({tested.run.steps for tested in rows}) > 1:
        steps = [{t.row.steps for t in rows if t.run.path == run} for run in runs]
        end = max((s for s in set.intersection(*steps) if s <= end), default=0)
    if end <= latest:
        raise UsageError(
            f"steps: got {end} as the last step that all runs in {rows[0].row.env} were evaluated "
            f"at, allowed: more than {latest}, where the learning in {str(path)!r} begins"
        )
    return end
