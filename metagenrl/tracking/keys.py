"""Every key that trackers show, in one table; `python -m metagenrl.tracking.keys` prints it.

`docs/metrics.md` is that print. A key is at once the name at Weights & Biases, the tag in
TensorBoard and, through `prometheus_name`, the metric that Ray's endpoint exports.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from metagenrl.learner.measures import MEASURES

AGENT_AXIS, AXIS = "agent/<agent>/steps", "steps"
HELD_OUT_AXIS, TEST_AXIS = "heldout/steps", "test/steps"
WAITING = "heldout/waiting"
"""Of the run as it is now, unlike the rest of its family, which is about a version of the past."""
OVERALL = "all"
"""Label `env` of a Prometheus metric that also exists by environment."""


@dataclass(frozen=True)
class Key:
    """A key, or with `<agent>` or `<env>` in it a family of them."""

    template: str
    meaning: str
    wandb_only: bool = False
    own_axis: str | None = None  # where it is not that of its family

    @property
    def axis(self) -> str:
        """The key that is the x axis of its plots."""
        if self.own_axis is not None:
            return self.own_axis
        first = self.template.split("/")[0]
        axes = {"agent": AGENT_AXIS, "heldout": HELD_OUT_AXIS, "test": TEST_AXIS}
        return axes.get(first, AXIS)

    @property
    def labels(self) -> tuple[str, ...]:
        """What stands in angle brackets."""
        return tuple(re.findall(r"<(\w+)>", self.template))

    @property
    def prometheus_name(self) -> str:
        """The Prometheus metric; Ray puts `ray_` in front."""
        parts = [part for part in self.template.split("/") if "<" not in part]
        return "_".join(["metagenrl", *parts])

    def match(self, key: str) -> dict[str, str] | None:
        """The labels of `key`, None where it is not of this family."""
        pattern = re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", self.template)
        found = re.fullmatch(pattern, key)
        return None if found is None else found.groupdict()


KEYS = (
    Key("steps", "environment steps of an agent, mean over the population; the usual x axis"),
    Key("agent/<agent>/steps", "environment steps of the agent, over all its lives"),
    Key("agent/<agent>/return", "undiscounted return, mean over the interval's episodes"),
    Key("agent/<agent>/episode_length", "steps, mean over the interval's episodes"),
    Key("agent/<agent>/q", "Q of the critic's minibatches"),
    Key("agent/<agent>/td_loss", "the critic's loss (Eq. 5)"),
    Key("agent/<agent>/objective_loss", "l of the learned objective, per step"),
    Key("agent/<agent>/policy_gradient_norm", "of the policy's gradient, before it is clipped"),
    Key("agent/<agent>/gradient_norm", "of the meta-gradient (Eq. 6), before it is scaled"),
    Key("agent/<agent>/value_after", "Q of the policy after its inner step: what Eq. 6 raises"),
    *(Key(f"agent/<agent>/{each.name}", each.meaning) for each in MEASURES),
    Key("agent/<agent>/lag", "versions that its last gradient was behind the objective"),
    Key("agent/<agent>/life", "times that it has begun anew"),
    Key("agent/<agent>/restarts", "times that its process was replaced"),
    Key("population/<env>/return_iqm", "interquartile mean of the agents' returns"),
    Key("population/<env>/return_median", "median of the agents' returns"),
    Key("population/<env>/return_q25", "lower quartile of the agents' returns"),
    Key("population/<env>/return_q75", "upper quartile of the agents' returns"),
    Key("population/<env>/return_mean", "mean of the agents' returns"),
    Key("population/<env>/return_min", "the worst agent's return"),
    Key("population/<env>/return_max", "the best agent's return"),
    Key("population/restarts", "replaced processes, all agents together"),
    Key("population/learning", "agents that are learning (not starting, random, late, failed)"),
    Key("population/heat_map", "picture: return by agent and time", wandb_only=True),
    Key("meta/gradient_norm", "of the agents' mean gradient, the one that Adam gets"),
    Key("meta/update_norm", "of the objective's change"),
    Key("meta/cosine", "mean over pairs of agents: 1 they agree, 0 unrelated, below 0 conflict"),
    Key("meta/cosine/<env>", "the same over pairs of agents of one environment"),
    Key("meta/contributors", "agents whose gradients went into the version"),
    Key("meta/accepted", "gradients applied since the run began"),
    Key("meta/rejected", "gradients refused since the run began, for whatever reason"),
    Key("meta/stale", "of these, those older than the staleness bound"),
    Key("meta/duplicate", "of these, those that had been applied already"),
    Key("objective/version", "times that the objective was updated"),
    Key("objective/norm", "of the objective's parameters"),
    Key("server/lag", "versions that agents are behind the objective, mean"),
    Key("server/lag_max", "the same of the agent that is furthest behind"),
    Key("system/agent_steps_per_s", "environment steps per second, all agents together"),
    Key("system/hours", "since the run began, over all its processes"),
    Key("system/rss", "bytes resident, driver and all processes below it on its machine"),
    Key("system/rss_driver", "bytes resident, driver alone"),
    Key("system/processes", "driver and processes below it"),
    Key("heldout/steps", "environment steps of an agent when the tested version was made"),
    Key("heldout/version", "the tested version of the objective"),
    Key("heldout/<env>/return", "return of the new agents that it trained, mean over seeds"),
    Key("heldout/<env>/return_min", "the worst seed's return"),
    Key("heldout/<env>/return_max", "the best seed's return"),
    Key("heldout/score", "what versions are compared by (see `metric` in objectives/best.json)"),
    Key("heldout/best_version", "version with the highest score so far"),
    Key("heldout/best_score", "its score"),
    Key(WAITING, "tests that are not finished", own_axis=AXIS),
    Key("heldout/given_up", "tests that failed or hung every time they were begun"),
    Key("test/steps", "of a meta-test or baseline: steps of an agent", wandb_only=True),
    Key("test/<env>/return_iqm", "interquartile mean of the agents' returns", wandb_only=True),
    Key("test/<env>/return_mean", "mean of the agents' returns", wandb_only=True),
    Key("test/<env>/return_min", "the worst agent's return", wandb_only=True),
    Key("test/<env>/return_max", "the best agent's return", wandb_only=True),
)


def find_key(name: str) -> tuple[Key, dict[str, str]]:
    """The table's entry for a key and the key's labels. Raises `ValueError` for none."""
    for key in KEYS:
        labels = key.match(name)
        if labels is not None:
            return key, labels
    raise ValueError(f"key: got {name!r}, allowed: those of docs/metrics.md")


def prometheus_metric(name: str) -> tuple[str, dict[str, str]]:
    """Prometheus name and labels of a key; the overall one of a family has `env="all"`."""
    key, labels = find_key(name)
    families = {k.prometheus_name for k in KEYS if "env" in k.labels}
    if key.prometheus_name in families and not labels:
        labels = {"env": OVERALL}
    return key.prometheus_name, labels


_HEADER = """\
# Metrics

Keys at Weights & Biases and tags in TensorBoard. `<agent>` is two digits or more (`07`), `<env>`
an environment's name with `-` for `/`. Prometheus metrics carry what stands in angle brackets, and
`run`, as labels (`env="all"` for the mean over environments); keys without one are at Weights &
Biases only. All of it comes from `metrics.jsonl`, which has every row, also where a tracker thins
out (`meta/` and `objective/`: every tenth version); `test/` comes from `evaluations.jsonl`.

Snapshots of the objective are artifacts of the run that made them: `objective-RUN`, and in
`objective-best-RUN` those that were the best one at their time. The run of its held-out tests and
the runs of `metagenrl test --wandb` name the version that they used as their input. Upload the
meta-training run first, so that Weights & Biases knows who made the version.

Generated by `python -m metagenrl.tracking.keys`.

| key | what | x axis | Prometheus |
|---|---|---|---|"""


def markdown() -> str:
    """The table of all keys."""
    lines = [_HEADER]
    for key in KEYS:
        metric = "-" if key.wandb_only else f"`ray_{key.prometheus_name}`"
        lines.append(f"| `{key.template}` | {key.meaning} | `{key.axis}` | {metric} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
