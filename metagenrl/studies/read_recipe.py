"""From a YAML file to a recipe, and what a recipe must not say."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from metagenrl.analysis.protocol.scores import ONE, ZERO
from metagenrl.base.checks import UsageError, integer_at_least, mapping, require
from metagenrl.runs.config.baselines import BASELINES
from metagenrl.runs.config.yaml import build, merge
from metagenrl.runs.config.yaml_file import load_mapping
from metagenrl.studies.plan import file_name
from metagenrl.studies.recipe import (
    RANDOM,
    Environments,
    Options,
    Recipe,
    Scale,
    Variant,
    contains,
    overlap,
)


def read_recipe(path: Path, scale: str) -> Recipe:
    """The recipe in a YAML file at one of its scales.

    Raises `UsageError` for unknown fields, values that are not allowed, a scale that the file lacks
    and sets of environments that overlap.
    """
    values = load_mapping(path, "recipe")
    scales = mapping("scales", values.pop("scales", {}))
    if scale not in scales:
        raise UsageError(f"scale: got {scale!r}, allowed: {', '.join(scales) or 'none'} in {path}")
    fields_of_scale = mapping(f"scales.{scale}", scales[scale])
    chosen = build(Scale, fields_of_scale, f"scales.{scale}.")
    pairs = values.get("compare") or ()
    whole = isinstance(pairs, list | tuple) and all(isinstance(pair, str) for pair in pairs)
    require(whole, "compare", pairs, "a list of RULE > RULE, each a text")
    body = build(_Body, values)
    own = _named(None, chosen.variant_train, f"scales.{scale}.variant_train", ())
    variants = {
        name: replace(variant, train=merge(variant.train, own.pop(name, {})))
        for name, variant in _named(Variant, body.variants, "variants", chosen.variants).items()
    }
    for name in own:
        require(name in body.variants, "variant_train", name, ", ".join(body.variants))
    baselines = _named(None, body.baselines, "baselines", chosen.baselines)
    fields = {f.name: getattr(body, f.name) for f in dataclasses.fields(body)}
    fields |= {"variants": variants, "baselines": baselines}
    fields["train"] = merge(body.train, chosen.train)
    fields["test"] = merge(body.test, chosen.test)
    fields["compare"] = tuple(tuple(pair.split(" > ")) for pair in body.compare)
    recipe = Recipe(name=path.stem, scale_name=scale, scale=chosen, **fields)
    check_recipe(recipe)
    return recipe


@dataclass(frozen=True)
class _Body:
    """The file without its scales."""

    title: str
    environments: Environments
    shows: str = ""
    variants: Options = field(default_factory=dict)
    baselines: Options = field(default_factory=dict)
    train: Options = field(default_factory=dict)
    test: Options = field(default_factory=dict)
    keep: int = 0
    compare: tuple[str, ...] = ()


def _named(cls: Any, values: Options, label: str, chosen: Sequence[str]) -> dict[str, Any]:
    """The sub-mappings by name, only the chosen ones where some are chosen."""
    for name in chosen:
        require(name in values, label, name, ", ".join(values))
    found = {}
    for name, value in values.items():
        if not chosen or name in chosen:
            value = mapping(f"{label}.{name}", {} if value is None else value)
            found[name] = dict(value) if cls is None else build(cls, value, f"{label}.{name}.")
    return found


def check_recipe(recipe: Recipe) -> None:
    """Raise `UsageError` for sets that overlap and for names that stand for nothing."""
    sets, rules = recipe.environments, {RANDOM, ONE, *recipe.baselines, *recipe.variants}
    _once("selection", sets.selection)
    _once("test", sets.test)
    disjoint("selection", sets.selection, "test", sets.test)
    for name in recipe.variants:
        _check_name(name)
        trained = recipe.meta_training(name)
        require(bool(trained), f"variants.{name}.meta_training", trained, "environments")
        disjoint("selection", sets.selection, f"{name}'s meta-training", trained)
        if not sets.seen:
            disjoint("test", sets.test, f"{name}'s meta-training", trained)
    for name, options in recipe.baselines.items():
        _check_baseline(name, options, recipe.variants)
    for pair in recipe.compare:
        require(len(pair) == 2 and set(pair) <= rules, "compare", " > ".join(pair), "RULE > RULE")
    integer_at_least(0, keep=recipe.keep)
    allowed = "0 without selection environments"
    require(not recipe.keep or bool(sets.selection), "keep", recipe.keep, allowed)


_HANDMADE = sorted(name for name, traits in BASELINES.items() if not traits.meta_learner)


def _check_baseline(name: str, options: Options, variants: Collection[str]) -> None:
    """Refuse one that is no algorithm, and names none with `algo`."""
    if "algo" not in options:
        allowed = f"{', '.join(_HANDMADE)}; any other name with algo, one of these"
        require(name in _HANDMADE, "baselines", name, allowed)
        return
    require(options["algo"] in _HANDMADE, f"baselines.{name}.algo", options["algo"],
            ", ".join(_HANDMADE))  # fmt: skip
    _check_name(name, "baselines")
    require(name not in variants, "baselines", name, "another name than a variant's")


def _check_name(name: str, field: str = "variants") -> None:
    """Refuse a name that tables and folders would take for something else."""
    reserved = name in (RANDOM, ZERO, *_HANDMADE)
    allowed = f"another name than an algorithm's, {RANDOM} and {ZERO}"
    require(not reserved, field, name, allowed)
    named = file_name(name) not in ("", ".", "..")
    require(named, field, name, "a name that a folder can have")


def _once(name: str, envs: Sequence[str]) -> None:
    for place, env in enumerate(envs):
        if contains(envs[:place], env):
            raise UsageError(
                f"environments: got {env} twice in {name}, allowed: each environment once"
            )


def disjoint(name: str, envs: Sequence[str], other: str, others: Sequence[str]) -> None:
    """Raise `UsageError` for an environment of two sets, in whatever spelling."""
    both = sorted(env for env in envs if overlap(others, env))
    if both:
        raise UsageError(
            f"environments: got {', '.join(both)} in both {name} and {other}, allowed: sets that "
            "do not overlap"
        )
