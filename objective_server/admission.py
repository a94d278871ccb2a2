"""Which gradients enter the open round: their identity, age and health (docs/reliability.md)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from metagenrl.base.checks import require
from metagenrl.base.messages import AlphaGradient, CohortGradient, GradientShare
from metagenrl.objective_server.answers import AgentRecord, Reason
from metagenrl.objective_server.config import ServerConfig
from metagenrl.objective_server.open_round import Key, Pending
from metagenrl.objective_server.seen import SeenGradients
from metagenrl.objective_server.snapshots.errors import WrongGradientSize
from metagenrl.objective_server.state import ServerState

logger = logging.getLogger(__name__)

Message = AlphaGradient | CohortGradient


@dataclass
class _Draft:
    """The parts of a state that messages change, copied once for all of them."""

    agents: dict[int, AgentRecord]
    pending: dict[int, Pending]
    in_round: dict[int, Key]
    remembered: SeenGradients

    @classmethod
    def of(cls, state: ServerState) -> _Draft:
        parts = dict(state.agents), dict(state.pending), dict(state.in_round)
        return cls(*parts, state.remembered)


def admit(
    state: ServerState, messages: Sequence[Message], config: ServerConfig
) -> tuple[ServerState, list[Reason | None]]:
    """The state with `messages` counted and, unless a reason is returned, in the open round.

    Every agent in a message is counted on its own. A cohort's mean enters whole or not at all: the
    first reason against one of the agents in it holds for all of them. Agents whose gradients it
    leaves out are refused for their own reasons.

    Raises `WrongGradientSize` for another length or dtype and `ValueError` for another run's
    gradient: these are programming errors, so nothing is counted then.
    """
    draft = _Draft.of(state)
    reasons = [_admit_one(state, draft, message, config) for message in messages]
    return replace(state, **vars(draft)), reasons


def _admit_one(
    state: ServerState, draft: _Draft, message: Message, config: ServerConfig
) -> Reason | None:
    _require_fits(state, message)
    shares = message.shares
    records = {share.agent: _arrival(draft, share) for share in shares}
    reasons = {
        s.agent: _reason(state, draft, message.round, s, records[s.agent], config) for s in shares
    }
    taken = [share for share in shares if share.defect is None]
    refusal = next((reasons[s.agent] for s in taken if reasons[s.agent] is not None), None)
    if taken and refusal is None:
        entry = Pending.of(message)
        draft.pending[entry.agent] = entry
        draft.in_round.update((key[0], key) for key in entry.members)
    for share in shares:
        reason = refusal if share.defect is None else reasons[share.agent]
        record = records[share.agent]
        if reason is None:
            records[share.agent] = (
                record._replace(bad_in_a_row=0) if record.bad_in_a_row else record
            )
            continue
        record = record.reject(reason)
        if reason == "non_finite":
            # Remembered, so that a retry does not count towards the quarantine.
            draft.remembered = draft.remembered.including([_key(share, message.round)])
            record = _after_bad(record, share, message, reason, config)
        records[share.agent] = record
    draft.agents.update(records)
    return refusal if taken else reasons[shares[0].agent]


def _arrival(draft: _Draft, share: GradientShare) -> AgentRecord:
    """The agent's record with one more gradient; a new incarnation ends a quarantine."""
    record = draft.agents.get(share.agent, AgentRecord())
    record = record._replace(sent=record.sent + 1)
    if record.quarantine is not None and share.incarnation > record.quarantine:
        record = record._replace(quarantine=None, bad_in_a_row=0)
    return record


def _key(share: GradientShare, round: int) -> Key:
    return (share.agent, share.incarnation, round, share.version)


def _require_fits(state: ServerState, message: Message) -> None:
    given = message.gradient
    require(message.run == state.run, "gradient's run", message.run, state.run)
    if given.shape != state.alpha.shape or given.dtype != np.float32:
        found = f"{given.dtype} of shape {given.shape}"
        expected = f"float32 of shape {state.alpha.shape}"
        raise WrongGradientSize(message.agent, message.environment, found, expected)


def _reason(
    state: ServerState,
    draft: _Draft,
    round: int,
    share: GradientShare,
    record: AgentRecord,
    config: ServerConfig,
) -> Reason | None:
    """Why a gradient is refused; None: it is taken."""
    present = draft.in_round.get(share.agent)
    if _key(share, round) in draft.remembered or present == _key(share, round):
        return "duplicate"
    if share.version > state.version or round > state.round:
        return "future"
    if record.quarantine is not None:
        return "quarantined"
    # In synchronous mode a gradient is for its own round only, even if alpha did not move.
    window = config.history if config.staleness_bound > 0 else 0
    too_old = state.version - share.version > config.staleness_bound
    if too_old or state.round - round > window:
        return "stale"
    if share.defect is None and present is not None:
        return "duplicate"
    return share.defect


def _after_bad(
    record: AgentRecord,
    share: GradientShare,
    message: Message,
    reason: Reason,
    config: ServerConfig,
) -> AgentRecord:
    record = record._replace(bad_in_a_row=record.bad_in_a_row + 1)
    who = f"agent {share.agent} ({message.environment})"
    logger.warning("%s: %s gradient rejected in round %d", who, reason, message.round)
    if record.bad_in_a_row >= config.quarantine_after:
        logger.warning("%s: quarantined after %d bad gradients", who, record.bad_in_a_row)
        record = record._replace(quarantine=share.incarnation)
    return record
