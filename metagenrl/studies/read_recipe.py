"""From a YAML file to a recipe, and what a recipe must not say."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from metagenrl.analysis.protocol.scores import ONE
from metagenrl.base.checks import UsageError, integer_at_least, require
from metagenrl.runs.config.baselines import BASELINES
from metagenrl.runs.config.yaml import build, merge
from metagenrl.runs.config.yaml_file import load_mapping
from metagenrl.studies.recipe import RANDOM, Environments, Options, Recipe, Scale, Variant


def read_recipe(path: Path, scale: str) -> Recipe:
    """The recipe in a YAML file at one of its scales.

    Raises `UsageError` for unknown fields, values that are not allowed, a scale that the file lacks
    and sets of environments that overlap.
    """
    values = load_mapping(path, "recipe")
    scales = values.pop("scales", None) or {}
    if scale not in scales:
        raise UsageError(f"scale: got {scale!r}, allowed: {', '.join(scales) or 'none'} in {path}")
    chosen = build(Scale, scales[scale], f"scales.{scale}.")
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
            value = {} if value is None else value
            if not isinstance(value, Mapping):
                raise UsageError(f"{label}.{name}: got {value!r}, allowed: a mapping of fields")
            found[name] = dict(value) if cls is None else build(cls, value, f"{label}.{name}.")
    return found


def check_recipe(recipe: Recipe) -> None:
    """Raise `UsageError` for sets that overlap and for names that stand for nothing."""
    sets, rules = recipe.environments, {RANDOM, ONE, *recipe.baselines, *recipe.variants}
    _disjoint("selection", sets.selection, "test", sets.test)
    for name in recipe.variants:
        trained = recipe.meta_training(name)
        require(bool(trained), f"variants.{name}.meta_training", trained, "environments")
        _disjoint("selection", sets.selection, f"{name}'s meta-training", trained)
        if not sets.seen:
            _disjoint("test", sets.test, f"{name}'s meta-training", trained)
    for name in recipe.baselines:
        known = sorted(n for n, traits in BASELINES.items() if not traits.meta_learner)
        require(name in known, "baselines", name, ", ".join(known))
        require(name not in recipe.variants, "variants", name, "another name than a baseline's")
    for pair in recipe.compare:
        require(len(pair) == 2 and set(pair) <= rules, "compare", " > ".join(pair), "RULE > RULE")
    integer_at_least(0, keep=recipe.keep)
    allowed = "0 without selection environments"
    require(not recipe.keep or bool(sets.selection), "keep", recipe.keep, allowed)


def _disjoint(name: str, envs: Sequence[str], other: str, others: Sequence[str]) -> None:
    both = sorted(set(envs) & set(others))
    if both:
        raise UsageError(
            f"environments: got {', '.join(both)} in both {name} and {other}, allowed: sets that "
            "do not overlap"
        )
