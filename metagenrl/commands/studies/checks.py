"""Whether the command lines of a study are valid, told before the first of them is started."""

from __future__ import annotations

import logging
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from metagenrl.agents.environment.trial_process import each_tried_once
from metagenrl.base.checks import UsageError, brief, require
from metagenrl.commands.epg import epg_train_config
from metagenrl.commands.parsing import accepted_flags, with_source
from metagenrl.commands.resolve import baseline_config, test_config, train_config
from metagenrl.commands.shell.short_runs import too_short
from metagenrl.runs.config.epg import EpgTrainConfig
from metagenrl.runs.config.lone_agents import RANDOM_OBJECTIVE, BaselineConfig, MetaTestConfig
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml_file import load_mapping
from metagenrl.runs.folder import training_file_of
from metagenrl.studies.job import Job
from metagenrl.studies.plan import Plan, require_apart
from metagenrl.studies.read_recipe import disjoint
from metagenrl.studies.recipe import Recipe, contains

_log = logging.getLogger(__name__)

_CLASSES = {"train": TrainConfig, "test": MetaTestConfig, "baseline": BaselineConfig}

Checked = tuple[Job, object]
"""A job with its command's configuration, whose environments have been tried."""


def check_jobs(whole: Plan, field: str, runs: bool = True) -> list[Checked]:
    """Refuse jobs whose command lines are no valid ones, or whose folders are not theirs.

    Gives those whose commands differ by more than seeds and the study's own objectives. Where
    nothing `runs`, a finished objective need not be there any more.
    """
    require_apart(whole, field)
    checked: dict[tuple[str, ...], Checked] = {}
    with each_tried_once():
        for job in whole.jobs:
            job.require_same()
            alike = _without_seeds(job)
            if alike not in checked and job.words[0] in _CLASSES:
                there = runs and not job.done and not job.after
                checked[alike] = job, _checked(job, field, there)
    if runs:
        _note_short_runs([(job, config) for job, config in checked.values() if not job.done])
    return list(checked.values())


def _note_short_runs(checked: Sequence[Checked]) -> None:
    """Say of which jobs the agents will not begin to learn, in one line for all alike."""
    notes: dict[str, list[Job]] = {}
    for job, config in checked:
        note = too_short(config)
        if note is not None:
            notes.setdefault(note, []).append(job)
    for note, jobs in notes.items():
        more = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
        _log.warning("%s%s: %s", jobs[0].label, more, note)


def _without_seeds(job: Job) -> tuple[str, ...]:
    """The words that decide whether a command is valid."""
    free = {"--seed", "--first-seed"} | ({"--objective"} if job.after else set())
    pairs = zip(("", *job.words), job.words, strict=False)
    return tuple(word for before, word in pairs if before not in free)


def check_sets(recipe: Recipe, checked: Sequence[Checked]) -> None:
    """Refuse what the recipe itself does not show: test environments that chose a version.

    A finished objective's meta-training must be as the recipe says.
    """
    for job, config in checked:
        chose: Sequence[str] = ()
        if isinstance(config, TrainConfig):
            chose = config.held_out.eval_envs
        elif isinstance(config, MetaTestConfig) and config.objective != RANDOM_OBJECTIVE:
            chose = _of_finished(recipe, job.label, config)
        disjoint(f"{job.label}'s eval_envs", chose, "test", recipe.environments.test)


def _of_finished(recipe: Recipe, variant: str, config: MetaTestConfig) -> Sequence[str]:
    """The `eval_envs` of the meta-training that a finished objective came from."""
    from metagenrl.meta_test.tested_objective import objective_of_test

    own = objective_of_test(config).environments
    if own:
        given = recipe.meta_training(variant)
        same = all(contains(own, env) for env in given) and all(contains(given, e) for e in own)
        allowed = f"the objective's own, {', '.join(own)}"
        require(same, f"variants.{variant}.meta_training", list(given), allowed)
    file = training_file_of(Path(config.objective))
    held_out = {} if file is None else load_mapping(file, "objective").get("held_out") or {}
    return tuple(held_out.get("eval_envs", ()))


def _checked(job: Job, field: str, there: bool) -> object:
    """The command's configuration; an objective that need not be `there` is not looked at."""
    line = shlex.join(["metagenrl", *job.words])
    _require_once(job, line, field)
    try:
        return _configuration(job, there)
    except ValueError as error:
        raise UsageError(
            f"{field}: got {brief(line, 160)} ({' '.join(str(error).split())}), allowed: what that "
            "command takes"
        ) from error


def _require_once(job: Job, line: str, field: str) -> None:
    """Refuse an option that stands twice, in whatever spelling, or that the study sets itself."""
    epg = "epg" in job.words[1:3]
    flags = accepted_flags(with_source(EpgTrainConfig if epg else _CLASSES[job.words[0]]))
    seen: dict[tuple[str, ...], str] = {}
    for word in (*job.words, "--run-dir", "--resume"):
        flag = word.partition("=")[0].replace("_", "-")
        if not word.startswith("--") or flag not in flags:
            continue
        path = flags[flag].path
        before = seen.get(path)
        if before:
            twice = f"{flag} twice" if flag == before else f"{before} and {flag}, one option,"
            raise UsageError(
                f"{field}: got {twice} in {line!r}, allowed: each option once, and none that the "
                "study sets itself"
            )
        seen[path] = flag


def _configuration(job: Job, there: bool) -> object:
    command, rest = job.words[0], list(job.words[1:])
    rest += ["--run-dir", str(Path(tempfile.gettempdir()) / "not-made")]
    if command == "train":
        return train_config(rest)
    if command == "test":
        return test_config(rest if there else _with_random_objective(rest))
    if "epg" in rest[:2]:
        return epg_train_config(rest)
    return baseline_config(rest)


def _with_random_objective(words: Sequence[str]) -> list[str]:
    """The test of an objective that is there at once."""
    at = words.index("--objective") + 1
    return [*words[:at], RANDOM_OBJECTIVE, *words[at + 1 :]]
