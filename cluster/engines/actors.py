"""A cohort of members as one Ray actor: a thin adapter."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import ray

from metagenrl.agents.backend.choice import Computing
from metagenrl.agents.cohort import Cohort
from metagenrl.agents.reports import MemberConfig
from metagenrl.base.process import settle
from metagenrl.cluster.engines.channel import Invitation, Raised, requests
from metagenrl.learner.types import Array


class AddOrder(NamedTuple):
    """Take in a member; answered with None once it is there."""

    config: MemberConfig
    incarnation: int
    state: dict[str, Any] | None


class RemoveOrder(NamedTuple):
    """Let a member go; not answered."""

    agent: int


class StateOrder(NamedTuple):
    """Answered with the member's complete state."""

    agent: int


class RoundOrder(NamedTuple):
    """One round of Algorithm 1 for each of the agents; answered with a `CohortReport`."""

    agents: tuple[int, ...]
    alpha: Array  # [P_alpha]
    version: int
    round: int
    quarantined: Mapping[int, int]  # agents, with the incarnation that it was imposed on
    ahead: tuple[int, ...]  # agents that then go on with what the next round can do without alpha


Order = AddOrder | RemoveOrder | StateOrder | RoundOrder


@ray.remote(max_restarts=0, max_task_retries=0)
class CohortActor:
    """Owns a cohort. Ray never restarts it: only the driver knows its agents' last states."""

    def __init__(self, computing: Computing) -> None:
        settle()
        self._cohort = Cohort(computing)

    def serve(self, invitation: Invitation) -> None:
        """Carry out the driver's orders, one after the other, until it hangs up."""
        channel = invitation.accept()
        for order in requests(channel):
            if isinstance(order, RemoveOrder):
                with contextlib.suppress(Exception):  # of an environment that cannot even close
                    self._cohort.remove(order.agent)
                continue
            channel.send(self._answer(order))
            if isinstance(order, RoundOrder) and order.ahead:
                self._cohort.prepare(order.ahead)

    def _answer(self, order: AddOrder | StateOrder | RoundOrder) -> Any:
        try:
            match order:
                case RoundOrder():
                    return self._cohort.round(*order[:-1])
                case AddOrder():
                    return self._cohort.add(*order)
                case StateOrder():
                    return self._cohort.state(order.agent)
        except Exception as error:
            return Raised.of(error)
