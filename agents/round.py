"""One round of Algorithm 1 for members of one process, which compute what they can in one call.

All of them have the same environment and configuration. Each computes to the bit what it would
compute alone, and one that raises does not touch the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from metagenrl.agents.lockstep import step_and_learn
from metagenrl.agents.reports import MemberReport
from metagenrl.agents.survivors import Group
from metagenrl.learner.native.policy_updates import PolicyStep, update_policies
from metagenrl.learner.types import Array, Batch

if TYPE_CHECKING:
    from metagenrl.agents.member import Member


def prepare(members: Sequence[Member]) -> None:
    """Do now what the next round of each can do without alpha; that gives the same rounds.

    Nothing where the next round begins a life: who is saved or leaves now is still in its present
    one. What goes wrong here is raised by the member's next round or `state_dict`, since nobody
    waits for this.
    """
    members = [member for member in members if member.may_go_ahead]
    if members:
        for member, result in zip(members, step_and_learn(members), strict=True):
            member.take_result(result)


@torch.no_grad()
def play(
    members: Sequence[Member], alpha: Array, version: int, round_index: int
) -> list[MemberReport | Exception]:
    """A round with the objective `alpha [P]` of `version`: what each reports, or what it raised."""
    group, objective = Group(members), torch.from_numpy(np.array(alpha, np.float32))
    group.each(lambda member: member.begin_round())
    prepare(group.playing)
    prepared = group.each(lambda member: member.take_preparation())
    learning = [member for member, done in prepared.items() if done.critic is not None]
    steps = _update_policies(group, learning, objective)
    reports = group.each(
        lambda m: m.report_round(prepared[m].critic, steps.get(m), version, round_index)
    )
    return [group.failures.get(member) or reports[member] for member in members]


def _update_policies(
    group: Group[Member], learning: Sequence[Member], alpha: Tensor
) -> dict[Member, PolicyStep]:
    fused = [member for member in learning if member.updates_fused(alpha)]
    plain = [member for member in learning if member not in fused]
    steps = group.each(lambda member: member.update_policy(alpha), plain)
    batches = group.each(lambda member: member.policy_batches(), fused)
    return steps | group.together([*batches], lambda: _update_fused(batches, alpha))


def _update_fused(batches: dict[Member, tuple[Batch, ...]], alpha: Tensor) -> list[PolicyStep]:
    first = next(iter(batches))
    states = [member.actor_critic.policy_state for member in batches]
    return update_policies(
        first.actor_critic.nets, first.net, alpha, first.config.agent, first.config.meta,
        states, [*batches.values()],
    )  # fmt: skip
