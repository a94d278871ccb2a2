"""A model card: Markdown with YAML front matter, as model hubs read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from metagenrl.analysis.card.scores import TestScore, scores_table
from metagenrl.base.wording import counted
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import to_dict

_PAPER = "Kirsch, van Steenkiste, Schmidhuber: Improving Generalization in Meta Reinforcement "
_PAPER += "Learning using Learned Objectives, ICLR 2020"

LIMITS = """\
- It trains deterministic policies for continuous actions in [-1, 1], off-policy, with the critic of
  this package. Discrete actions, pixels and other critics were not tried.
- It is a research result: compare it in your environment with TD3 before relying on it.
- Steps, network sizes and minibatches far from those of its tests were not tried, unless the table
  above has them."""


@dataclass(frozen=True)
class CardFacts:
    """The facts of a card that are not in the objective's own file."""

    name: str
    snapshot: ObjectiveSnapshot
    training: TrainConfig | None
    """Configuration of the meta-training, where it is known."""
    scores: Sequence[TestScore] = ()
    study: str = ""
    """Markdown of a study with its own tables, put under the scores."""
    selection: str = ""
    """How this objective was chosen among others."""
    limits: str = ""
    """The limits of this objective, beside those of all objectives."""
    commit: str = ""
    licence: str = "apache-2.0"
    extra: Mapping[str, Any] = field(default_factory=dict)


def card(facts: CardFacts) -> str:
    """The whole card, which also says everything without being rendered."""
    front = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True, width=100)
    parts = [f"---\n{front}---", f"# {facts.name}", _summary(facts), _use(facts), _made(facts)]
    parts += ["## Selection", facts.selection or "Not noted."]
    parts += ["## Tests", _tests(facts), "## What it is not good for"]
    parts += ["\n".join([LIMITS, *([f"- {facts.limits}"] if facts.limits else [])])]
    parts += ["## Identity", _identity(facts)]
    return "\n\n".join(parts) + "\n"


def _front_matter(facts: CardFacts) -> dict[str, Any]:
    snapshot = facts.snapshot
    results = [
        {
            "task": {"type": "reinforcement-learning", "name": "training new agents"},
            "dataset": {"type": score.env, "name": score.env},
            "metrics": [
                {"type": "mean_reward", "name": f"{number}, {counted(score.agents, 'agent')}",
                 "value": round(interval.value, 4)}
                for number, interval in score.numbers.items()
            ],
        }
        for score in facts.scores if score.own and score.numbers
    ]  # fmt: skip
    return {
        "license": facts.licence,
        "library_name": "metagenrl",
        "pipeline_tag": "reinforcement-learning",
        "tags": ["reinforcement-learning", "meta-learning", "learned-objective", "metagenrl"],
        **({"model-index": [{"name": facts.name, "results": results}]} if results else {}),
        "metagenrl": {
            "release": snapshot.release or "0.1", "commit": facts.commit or None,
            "checksum": snapshot.checksum,
            "version": snapshot.version, "parameters": snapshot.alpha.size,
            "environments": list(snapshot.environments), "steps": snapshot.steps,
            "seed": None if facts.training is None else facts.training.seed,
            "architecture": dict(snapshot.config), **facts.extra,
        },
    }  # fmt: skip


def _summary(facts: CardFacts) -> str:
    sees = "sees" if facts.snapshot.complete_config.get("use_critic_direction") else "does not see"
    return (
        "An objective function that a population of agents learned (MetaGenRL). It takes the place "
        f"of TD3's policy loss when a new agent is trained. It {sees} the critic's gradient with "
        f"respect to the action.\n\nMethod: {_PAPER}."
    )


def _use(facts: CardFacts) -> str:
    return (
        "With the package installed (`pip install .` in a clone of its repository):\n\n```\n"
        f"metagenrl test --objective {facts.name}.safetensors --env Hopper-v5 --steps 30000 "
        "--run-dir runs/test\n```"
    )


def _made(facts: CardFacts) -> str:
    snapshot, training = facts.snapshot, facts.training
    lines = [
        "## Meta-training",
        "",
        f"- environments: {', '.join(snapshot.environments)}",
        f"- steps of the whole population: {snapshot.steps:,}",
        f"- version of alpha: {snapshot.version:,}",
    ]
    if training is not None:
        variant = _variant(training.objective, training.meta, training.agent)
        lines += [
            f"- agents: {training.agents}, {training.steps:,} steps each, seed {training.seed}",
            f"- networks of the agents: {counted(training.agent.hidden_layers, 'layer')} of "
            f"{training.agent.hidden_units} units; minibatches of {training.agent.batch_size} "
            f"segments of {counted(training.agent.segment_length, 'step')}",
            f"- variant, where it differs from the paper: {variant}",
        ]
    return "\n".join(lines)


def _variant(objective: ObjectiveConfig, meta: MetaConfig, agent: AgentConfig) -> str:
    """The fields that differ from their defaults, which are the paper's."""
    found = []
    for section, given in (("objective", objective), ("meta", meta), ("agent", agent)):
        mine, paper = to_dict(given), to_dict(type(given)())
        found += [f"{section}.{name} {mine[name]}" for name in mine if mine[name] != paper[name]]
    return ", ".join(found) or "nothing"


def _tests(facts: CardFacts) -> str:
    parts = []
    if facts.scores:
        parts.append(scores_table(facts.scores, facts.snapshot.environments))
        parts.append(
            "Mean return of new agents with its 95 % interval (Student's t over agents). One "
            "objective is one sample of its meta-training: the interval is silent on other seeds."
        )
    if facts.study:
        parts.append(facts.study.strip())
    return "\n\n".join(parts) or "None yet."


def _identity(facts: CardFacts) -> str:
    snapshot = facts.snapshot
    return "\n".join([
        f"- file: {facts.name}.safetensors; sha256 of alpha and its facts: {snapshot.checksum}",
        f"- run {snapshot.run}, created {snapshot.created}",
        f"- code: metagenrl {snapshot.release or '0.1'}"
        + (f", commit {facts.commit}" if facts.commit else ""),
        f"- licence: {facts.licence}",
    ])  # fmt: skip
