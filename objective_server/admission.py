"""Which gradients enter the open round: identity, age and health (RELIABILITY's rules)."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from metagenrl.learner.hyperparams import require
from metagenrl.objective_server.aggregate import defect
from metagenrl.objective_server.config import ServerConfig
from metagenrl.objective_server.errors import WrongGradientSize
from metagenrl.objective_server.messages import AgentRecord, Reason
from metagenrl.objective_server.state import Key, Pending, ServerState

if TYPE_CHECKING:  # a type only: the server's process does not need torch
    from metagenrl.learner.types import AlphaGradient

logger = logging.getLogger(__name__)


def admit(
    state: ServerState, gradient: AlphaGradient, config: ServerConfig
) -> tuple[ServerState, Reason | None]:
    """The state with `gradient` counted and, unless a reason is returned, in the open round.

    Raises `WrongGradientSize` for another length or dtype and `ValueError` for another run's
    gradient: these are programming errors, so they are not counted.
    """
    _require_fits(state, gradient)
    agent = gradient.agent
    record = state.agents.get(agent, AgentRecord())
    record = replace(record, sent=record.sent + 1)
    if record.quarantine is not None and gradient.incarnation > record.quarantine:
        record = replace(record, quarantine=None, bad_in_a_row=0)
    reason = _reason(state, gradient, record, config)
    pending, remembered = state.pending, state.remembered
    if reason is None:
        record = replace(record, bad_in_a_row=0)
        pending = {**pending, agent: Pending.of(gradient)}
    else:
        record = record.reject(reason)
    if reason == "non_finite":
        # Remembered, so that a retry does not count towards the quarantine.
        remembered = remembered | {_key(gradient)}
        record = _after_bad(record, gradient, reason, config)
    agents = {**state.agents, agent: record}
    return replace(state, agents=agents, pending=pending, remembered=remembered), reason


def _key(gradient: AlphaGradient) -> Key:
    return (gradient.agent, gradient.incarnation, gradient.round, gradient.version)


def _require_fits(state: ServerState, gradient: AlphaGradient) -> None:
    given = gradient.gradient
    require(gradient.run == state.run, "gradient's run", gradient.run, state.run)
    if given.shape != state.alpha.shape or given.dtype != np.float32:
        found = f"{given.dtype} of shape {given.shape}"
        expected = f"float32 of shape {state.alpha.shape}"
        raise WrongGradientSize(gradient.agent, gradient.environment, found, expected)


def _reason(
    state: ServerState, gradient: AlphaGradient, record: AgentRecord, config: ServerConfig
) -> Reason | None:
    """Why a gradient is refused; None: it is taken."""
    pending = state.pending.get(gradient.agent)
    if _key(gradient) in state.remembered or (pending and pending.key == _key(gradient)):
        return "duplicate"
    if gradient.version > state.version or gradient.round > state.round:
        return "future"
    if record.quarantine is not None:
        return "quarantined"
    # In synchronous mode a gradient is for its own round only, even if alpha did not move.
    window = config.history if config.staleness_bound > 0 else 0
    too_old = state.version - gradient.version > config.staleness_bound
    if too_old or state.round - gradient.round > window:
        return "stale"
    bad = defect(gradient.gradient, gradient.norm)
    if bad is None and pending is not None:
        return "duplicate"
    return bad


def _after_bad(
    record: AgentRecord, gradient: AlphaGradient, reason: Reason, config: ServerConfig
) -> AgentRecord:
    record = replace(record, bad_in_a_row=record.bad_in_a_row + 1)
    who = f"agent {gradient.agent} ({gradient.environment})"
    logger.warning("%s: %s gradient rejected in round %d", who, reason, gradient.round)
    if record.bad_in_a_row >= config.quarantine_after:
        logger.warning("%s: quarantined after %d bad gradients", who, record.bad_in_a_row)
        record = replace(record, quarantine=gradient.incarnation)
    return record
