"""What stands above a study's numbers: how they came about."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from metagenrl.base.release import RELEASE, commit
from metagenrl.runs.machine.changes import processor
from metagenrl.studies.plan import words_of
from metagenrl.studies.recipe import Recipe


def facts_of(recipe: Recipe, command: str, measured_here: bool = True) -> list[str]:
    """A list item each; the machine, where the results were measured on it."""
    scale = recipe.scale
    last = scale.first_meta_seed + scale.meta_seeds - 1
    sets = {
        "meta-training": ", ".join(recipe.environments.meta_training) or "each variant's own",
        "selection": ", ".join(recipe.environments.selection) or "none",
        "test": ", ".join(recipe.environments.test) or "none",
    }
    facts = {
        "shows": recipe.shows,
        "command": f"`{command}`",
        "scale": f"{recipe.scale_name}{f' ({scale.takes})' if scale.takes else ''}",
        "environments": "; ".join(f"{name}: {envs}" for name, envs in sets.items()),
        "meta-training": f"seeds {scale.first_meta_seed} to {last} of each variant, "
        f"`{_options(recipe.train)}`",
        "tests": f"{scale.agents} new agents for each objective, {scale.rule_agents} for each "
        f"hand-made rule, {scale.steps:,} steps, {scale.eval_episodes} episodes every "
        f"{scale.eval_every:,} steps, `{_options(recipe.test)}`",
        "scores": "0 is the random objective, 1 is TD3 of the same steps and sizes, in each "
        "environment",
        "intervals": "95 %, by a bootstrap over meta-training seeds and agents' numbers, which are "
        "crossed; of hand-made rules over agents; none for a single seed. They take what is 0 "
        "and 1 as exact; those of differences draw it anew, and compare agent by agent",
        "machine": machine() if measured_here else "",
    }
    lines = [f"- {name}: {text}" for name, text in facts.items() if text]
    return [*lines, *_variants(recipe)]


def _variants(recipe: Recipe) -> list[str]:
    lines = []
    for name, variant in recipe.variants.items():
        own = [f"the finished objective {variant.objective}"] if variant.objective else []
        own += [f"`{_options(variant.train)}`"] if variant.train else []
        own += [f"in {', '.join(variant.meta_training)}"] if variant.meta_training else []
        own += [variant.algo] if variant.algo else []
        own += ["version best"] if variant.version == "best" else []
        own += [f"at {', '.join(f'{s:.0%}' for s in variant.stages)}"] if variant.stages else []
        lines.append(f"- variant {name}: {', '.join(own) or 'as above'}")
    return lines


def _options(options: Mapping[str, Any]) -> str:
    return " ".join(words_of(options)) or "defaults"


def machine(*packages: str) -> str:
    """Processor, commit and versions, those of `packages` included, on a line."""
    names = ("torch", "gymnasium", "mujoco", "numpy", *packages)
    versions = ", ".join(f"{name} {_version(name)}" for name in names)
    found = commit()
    program = f"metagenrl {RELEASE}" + (f" ({found})" if found else "")
    return f"{processor()}, {program}, Python {platform.python_version()}, {versions}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"
