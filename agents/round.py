"""One round of Algorithm 1 for members of one process.

All of them have the same environment and configuration, and seats on one backend. Who raises is
out of the round, the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence

from metagenrl.agents.backend.interface import Backend, CriticStep
from metagenrl.agents.member import Member
from metagenrl.agents.reports import MemberReport, Preparation
from metagenrl.agents.survivors import Group
from metagenrl.learner.types import Array


def play(
    backend: Backend, members: Sequence[Member], alpha: Array, version: int, round_index: int
) -> list[MemberReport | Exception]:
    """A round with the objective `alpha [P]` of `version`: what each reports, or what it raised."""
    group = Group(members)
    group.each(lambda member: member.begin_round(backend))
    prepare(backend, group.playing)
    prepared = group.each(lambda member: member.take_preparation())
    learning = [member for member, done in prepared.items() if done.critic is not None]
    draws = group.each(lambda member: member.draw_for_policy(), learning)
    steps = group.by_slot(draws, lambda drawn: backend.update_policies(alpha, drawn))
    reports = group.each(
        lambda member: member.report(
            backend, prepared[member], steps.get(member), version, round_index
        )
    )
    return [group.failures.get(member) or reports[member] for member in members]


def prepare(backend: Backend, members: Sequence[Member]) -> None:
    """The part of a round that needs no alpha: environment steps with a critic update each.

    It can be done ahead, while the objective server still applies the round before; that gives the
    same rounds. Nothing where the next round begins a life: an agent that is saved or leaves now is
    still in its present one. What an agent raises here its next round or `state_dict` raises, since
    nobody waits for this.
    """
    group, critics = Group(m for m in members if m.may_go_ahead), dict[Member, CriticStep]()
    ahead = list(group.playing)
    delay = ahead[0].config.agent.policy_delay if ahead else 0
    group.each(lambda member: member.forget_episodes())
    for step in range(delay):
        if step == 0:
            _choose_actions(backend, group)
        group.each(lambda member: member.take_step(backend))
        if step + 1 < delay:  # environments in other processes step while the critics learn
            _choose_actions(backend, group)
        draws = group.each(lambda m: m.draw_for_critics(), [m for m in group.playing if m.ready])
        critics |= group.by_slot(draws, backend.update_critics)
    for member in ahead:
        done = Preparation(member.episodes, critics.get(member))
        member.take_result(group.failures.get(member) or done)


def _choose_actions(backend: Backend, group: Group[Member]) -> None:
    """Decide on everybody's next action; the policies stay as they are until a round's end."""
    observed = group.each(lambda member: member.rollout.observe())
    acting = {member: s for member, s in observed.items() if not member.rollout.acts_randomly}
    actions = group.by_slot(acting, backend.act)
    group.each(lambda member: member.rollout.choose(lambda _: actions[member]))
