"""A study as data: meta-training configurations x seeds, tests x seeds, baselines, comparisons.

A recipe is a YAML file. Its environments are declared in three sets that must not overlap: those of
the meta-training, those on which choices are made (*selection*), and those that only the finished
choice is tested on. The set stands beside every number.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from metagenrl.base.checks import integer_at_least, require, seed_range
from metagenrl.runs.config.baselines import BASELINES

Options = Mapping[str, Any]
"""Options of a command by the names of its flags, without the dashes."""
Set = Literal["meta-training", "selection", "test"]
RANDOM = "random"


@dataclass(frozen=True)
class Environments:
    """The three sets."""

    meta_training: tuple[str, ...] = ()
    """Of all variants that do not name their own."""
    selection: tuple[str, ...] = ()
    """Where variants are compared to choose among them."""
    test: tuple[str, ...] = ()
    """Where the chosen ones are tested."""
    seen: bool = False
    """Test in environments of a variant's own meta-training as well, as the paper's tables do."""


@dataclass(frozen=True)
class Variant:
    """One meta-training configuration, or a meta-learning baseline."""

    train: Options = field(default_factory=dict)
    """Options of its meta-training beside the recipe's."""
    meta_training: tuple[str, ...] = ()
    """Its own environments, instead of the recipe's."""
    objective: str = ""
    """A finished objective (run folder, file, `pretrained:NAME`) instead of a meta-training; its
    environments are to be named all the same."""
    algo: str = ""
    """`rl2` or `epg`: that meta-learner's training instead of MetaGenRL's."""
    version: str = "last"
    """Version of alpha that is tested: `last`, or `best` by held-out tests during the training."""
    stages: tuple[float, ...] = ()
    """Shares of the meta-training after which alpha is tested, instead of one version."""
    group: str = ""
    """Variants among which `keep` chooses."""

    def __post_init__(self) -> None:
        allowed = sorted(name for name, traits in BASELINES.items() if traits.meta_learner)
        require(self.algo in ("", *allowed), "algo", self.algo, ", ".join(allowed))
        trained = bool(self.objective and (self.train or self.algo or self.stages))
        require(not trained, "objective", self.objective, "nothing beside train, algo and stages")
        require(self.version in ("last", "best"), "version", self.version, "last, best")
        for stage in self.stages:
            require(0 <= stage <= 1, "stages", stage, "numbers from 0 to 1")


@dataclass(frozen=True)
class Scale:
    """How large the study is: what differs between a machine of two cores and the paper."""

    takes: str = ""
    """The time that a run at this scale takes, in words."""
    first_meta_seed: int = 0
    """Seed of the first meta-training of each variant."""
    meta_seeds: int = 5
    """Meta-trainings of each variant."""
    agents: int = 3
    """New agents for each objective and environment; a hand-made rule has `rule_agents`."""
    rule_agents: int = 5
    """New agents of a baseline or of the random objective in each environment."""
    steps: int = 30_000
    """Steps of each new agent."""
    eval_every: int = 2_500
    """Steps between an agent's evaluations."""
    eval_episodes: int = 5
    """Episodes of an evaluation."""
    train: Options = field(default_factory=dict)
    """Options of every meta-training at this scale."""
    variant_train: Options = field(default_factory=dict)
    """Further options of single variants' meta-training at this scale."""
    test: Options = field(default_factory=dict)
    """Options of every test and baseline at this scale: sizes, minibatches."""
    variants: tuple[str, ...] = ()
    """The variants that are run at this scale; none: all."""
    baselines: tuple[str, ...] = ()
    """Hand-made rules that are run at this scale; none: all."""

    def __post_init__(self) -> None:
        integer_at_least(1, meta_seeds=self.meta_seeds, agents=self.agents, steps=self.steps)
        seed_range("first_meta_seed", self.first_meta_seed, self.meta_seeds)
        integer_at_least(1, eval_every=self.eval_every, eval_episodes=self.eval_episodes)
        integer_at_least(1, rule_agents=self.rule_agents)


@dataclass(frozen=True)
class Recipe:
    """A study at one scale."""

    name: str
    title: str
    scale_name: str
    scale: Scale
    environments: Environments
    variants: Mapping[str, Variant]
    baselines: Mapping[str, Options]
    """Options of each hand-made rule; one with another name than its algorithm's has that as
    `algo`."""
    shows: str = ""
    """What it repeats (a figure or table of the paper), or the question that it answers."""
    train: Options = field(default_factory=dict)
    test: Options = field(default_factory=dict)
    keep: int = 0
    """Variants of each group that are tested after the selection, 0: all.

    Where no group has more of them, nothing is run in the selection environments.
    """
    compare: Sequence[tuple[str, str]] = ()
    """Pairs whose intervals are compared, in a file `RULE > RULE`; none: every variant with every
    rule."""

    @property
    def chooses(self) -> bool:
        """Whether some group has more variants than `keep` leaves of it."""
        groups = Counter(variant.group for variant in self.variants.values())
        return self.keep > 0 and max(groups.values(), default=0) > self.keep

    def meta_training(self, variant: str) -> tuple[str, ...]:
        """The environments of a variant's meta-training."""
        return self.variants[variant].meta_training or self.environments.meta_training

    def set_of(self, env: str, rule: str) -> Set:
        """To which set an environment belongs for a variant, or for a hand-made rule."""
        if rule in self.variants and overlap(self.meta_training(rule), env):
            return "meta-training"
        return "selection" if contains(self.environments.selection, env) else "test"


def contains(envs: Sequence[str], env: str) -> bool:
    """Whether an environment is among others, by what Gymnasium takes their names for."""
    return env in envs or any(_same(other, env) for other in envs)


def overlap(envs: Sequence[str], env: str) -> bool:
    """Whether one of them is the environment, or the ranges of one draw the other's values."""
    return env in envs or any(_includes(e, env) or _includes(env, e) for e in envs)


@functools.cache
def _same(one: str, other: str) -> bool:
    from metagenrl.agents.environment.make import same_environment  # slow to import

    return same_environment(one, other)


@functools.cache
def _includes(one: str, other: str) -> bool:
    from metagenrl.agents.environment.make import includes  # slow to import

    return includes(one, other)
