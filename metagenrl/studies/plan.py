"""From a recipe to its jobs, and to the folders that each condition's agents will lie in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from metagenrl.analysis.protocol.scores import ONE, ZERO
from metagenrl.base.checks import UsageError, brief
from metagenrl.studies.job import Job
from metagenrl.studies.recipe import RANDOM, Options, Recipe, Set, Variant

_LONGEST = 250
"""Characters of a folder's name, of the 255 that file systems take: its log has four more."""


@dataclass(frozen=True)
class Condition:
    """The tests of one rule in one environment."""

    rule: str
    env: str
    set: Set
    folders: tuple[Path, ...]
    """A run for each meta-training seed; a single one of a hand-made rule."""
    variant: str = ""
    """Its variant; "": a hand-made rule or the random objective."""


@dataclass(frozen=True)
class Plan:
    """Everything there is to run, and then to read."""

    jobs: tuple[Job, ...]
    conditions: tuple[Condition, ...]


def plan(recipe: Recipe, out: Path, kept: Sequence[str] | None = None) -> Plan:
    """The jobs of a recipe, meta-training first.

    Where the recipe chooses among variants and `kept` is None, only what the choice needs: all
    meta-trainings, tested on the selection environments. With `kept`, those are tested on the test
    environments as well.
    """
    choosing = recipe.chooses and kept is None
    selection = () if recipe.keep and not recipe.chooses else recipe.environments.selection
    test = () if choosing else recipe.environments.test
    finalists = tuple(recipe.variants) if kept is None else tuple(kept)
    jobs = [job for name in recipe.variants for job in _training(recipe, out, name)]
    conditions: list[Condition] = []
    for env in (*selection, *test):
        for rule in _rules(recipe, env in test):
            folder = out / "tests" / file_name(env) / file_name(rule)
            jobs.append(Job(folder, _rule_words(recipe, rule, env), label=rule))
            label = ZERO if rule == RANDOM else rule
            conditions.append(Condition(label, env, recipe.set_of(env, ""), (folder,)))
    for name in recipe.variants:
        envs = (*selection, *(test if name in finalists else ()))
        for env in envs:
            for stage in recipe.variants[name].stages or (None,):
                label = name if stage is None else f"{name} at {stage:.0%}"
                tests = _tests(recipe, out, name, env, stage)
                jobs += [replace(job, label=label) for job in tests]
                folders = tuple(job.folder for job in tests)
                conditions.append(Condition(label, env, recipe.set_of(env, name), folders, name))
    return Plan(tuple(jobs), tuple(conditions))


def require_apart(whole: Plan, field: str) -> None:
    """Refuse jobs that would share a run folder or can have none, and results of one name."""
    jobs: dict[Path, Job] = {}
    for job in whole.jobs:
        other = jobs.setdefault(job.folder, job)
        if other is not job:
            raise UsageError(
                f"{field}: got {other.label!r} and {job.label!r} (both are the folder "
                f"{str(job.folder)!r}), allowed: names that stay apart as folders"
            )
        if max(map(len, job.folder.parts)) > _LONGEST:
            raise UsageError(
                f"{field}: got {brief(job.label)} (more than {_LONGEST} characters as a folder), "
                "allowed: a shorter name"
            )
    for (rule, env), times in Counter((c.rule, c.env) for c in whole.conditions).items():
        if times > 1:
            raise UsageError(f"{field}: got {rule!r} twice in {env}, allowed: names that differ")


def _rules(recipe: Recipe, tested: bool) -> list[str]:
    """Hand-made rules in an environment: in those of the selection what scores need."""
    rules = list(dict.fromkeys([ONE, *recipe.baselines])) if tested else [ONE]
    return [RANDOM, *rules]


def _training(recipe: Recipe, out: Path, name: str) -> list[Job]:
    if recipe.variants[name].objective:
        return []
    first = recipe.scale.first_meta_seed
    seeds = range(first, first + recipe.scale.meta_seeds)
    return [
        Job(
            _run(out, name, seed),
            _train_words(recipe, name, seed),
            label=name,
            chain=f"{name}-{seed}",
        )
        for seed in seeds
    ]


def _run(out: Path, name: str, seed: int) -> Path:
    return out / "train" / file_name(name) / f"seed-{seed}"


def _train_words(recipe: Recipe, name: str, seed: int) -> tuple[str, ...]:
    variant, envs = recipe.variants[name], recipe.meta_training(name)
    own = words_of(variant.train)
    if variant.algo == "epg":
        own = words_of({"engine": "inprocess", **variant.train})
        shared = ("--seed", str(seed), *own)
        return ("baseline", "--algo", "epg", "--phase", "train", "--envs", *envs, *shared)
    if variant.algo:
        shared = ("--seeds", "1", "--first-seed", str(seed), "--workers", "1", *own)
        return ("baseline", "--algo", variant.algo, "--phase", "train", "--envs", *envs, *shared)
    options = {"engine": "inprocess", "wandb": "disabled", **recipe.train, **variant.train}
    return ("train", *words_of(options), "--envs", *envs, "--seed", str(seed))


def _tests(recipe: Recipe, out: Path, name: str, env: str, stage: float | None) -> list[Job]:
    variant = recipe.variants[name]
    at = "" if stage is None else f"-at-{100 * stage:03.0f}"
    folder = out / "tests" / file_name(env) / f"{file_name(name)}{at}"
    if variant.objective:
        words = _test_words(recipe, variant, variant.objective, env, stage)
        return [Job(folder / "finished", words, chain=name)]
    return [
        Job(
            folder / training.folder.name,
            _test_words(recipe, variant, str(training.folder), env, stage),
            (training.folder,),
            stage,
            training.chain,
        )
        for training in _training(recipe, out, name)
    ]


def _test_words(
    recipe: Recipe, variant: Variant, objective: str, env: str, stage: float | None
) -> tuple[str, ...]:
    options: Options = recipe.test
    if variant.algo:  # an evolved loss brings its own agent, a policy is one
        options = {key: value for key, value in recipe.test.items() if key == "preset"}
    version = () if variant.algo or stage is not None else ("--version", variant.version)
    shared = (*_shared(recipe, recipe.scale.agents), *words_of(options))
    return ("test", "--objective", objective, *version, "--env", env, *shared)


def _rule_words(recipe: Recipe, rule: str, env: str) -> tuple[str, ...]:
    shared = ("--env", env, *_shared(recipe, recipe.scale.rule_agents))
    if rule == RANDOM:
        return ("test", "--objective", RANDOM, *shared, *words_of(recipe.test))
    own = {"algo": rule, **recipe.baselines.get(rule, {})}
    algo = own.pop("algo")
    return ("baseline", "--algo", algo, *shared, *words_of({**recipe.test, **own}))


def _shared(recipe: Recipe, agents: int) -> tuple[str, ...]:
    scale = recipe.scale
    return (
        "--seeds", str(agents), "--steps", str(scale.steps), "--workers", "1",
        "--eval-every", str(scale.eval_every), "--eval-episodes", str(scale.eval_episodes),
    )  # fmt: skip


def words_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Options as words of a command line: `{"use-time": False}` is `--no-use-time`."""
    words: list[str] = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        section, dot, leaf = flag.rpartition(".")
        if isinstance(value, bool):
            words.append(f"--{section}{dot}{'' if value else 'no-'}{leaf}")
        elif isinstance(value, list | tuple):
            words += [f"--{flag}", *map(str, value)]
        else:
            words += [f"--{flag}", "none" if value is None else str(value)]
    return tuple(words)


def file_name(text: str) -> str:
    """A name as one part of a path: `module:Env-v0` may be an environment's."""
    return re.sub(r"[^A-Za-z0-9._=,+-]", "_", text)
