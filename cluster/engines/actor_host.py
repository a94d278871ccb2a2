"""The driver's side of an actor that hosts agents: its line, what it was asked, its death."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import ObjectRef
from ray.exceptions import RayActorError, RayError, RayTaskError

from metagenrl.base.checks import brief
from metagenrl.cluster.engines.actors import AddOrder, Order, RemoveOrder, RoundOrder, StateOrder
from metagenrl.cluster.engines.channel import Channel, ChannelLost, Raised
from metagenrl.cluster.engines.interface import Averaged, Lost, Result, Started
from metagenrl.cluster.engines.losses import Losses
from metagenrl.cluster.engines.plan import results_of
from metagenrl.objective_server.answers import Broadcast


@dataclass
class Mail:
    """The messages of all actors that have not been fetched."""

    results: list[Result] = field(default_factory=list)
    came_up: list[Started | Lost] = field(default_factory=list)
    states: dict[int, Any] = field(default_factory=dict)  # by agent; or `Raised`

    def forget(self, agent: int) -> None:
        """Drop the messages of an agent that is stopped; its gradient stays valid."""
        self.results = [r for r in self.results if isinstance(r, Averaged) or r.agent != agent]
        self.came_up = [each for each in self.came_up if each.agent != agent]
        self.states.pop(agent, None)


@dataclass(eq=False)
class ActorHost:
    """An actor and what it was asked for. It answers in the order of the questions."""

    number: int
    handle: Any
    serving: ObjectRef[Any]  # its one call: over when the actor is
    share: float  # of CPUs, reserved
    channel: Channel | None = None  # once it has called
    gone: bool = False
    failed: bool = False  # the cohort as a whole raised
    died_of: tuple[str, str] | None = None  # reason and details
    broken: str = ""  # why nothing comes over the channel any more
    asked: dict[int, bool] = field(default_factory=dict)  # agents of the next round; go ahead?
    unsent: list[Order] = field(default_factory=list)  # until it calls
    open: deque[AddOrder | RoundOrder | StateOrder] = field(default_factory=deque)  # unanswered

    def connected(self, channel: Channel) -> None:
        """The actor has called: send the orders that wait for it."""
        self.channel = channel
        unsent, self.unsent = self.unsent, []
        for order in unsent:
            self._transmit(order)

    def send(self, order: Order) -> None:
        """Ask for something, or tell."""
        if not isinstance(order, RemoveOrder):
            self.open.append(order)
        if self.channel is None:
            self.unsent.append(order)
        else:
            self._transmit(order)

    def _transmit(self, order: Order) -> None:
        assert self.channel is not None, "it has called"
        if not self.broken:
            try:
                self.channel.send(order)
            except ChannelLost as error:
                self.broken = str(error)

    def round_order(self, b: Broadcast, goes_ahead: bool) -> RoundOrder:
        """For a round of the agents that are `asked` for, in one message."""
        asked, self.asked = self.asked, {}
        ahead = tuple(agent for agent, more in asked.items() if more and goes_ahead)
        return RoundOrder(tuple(asked), b.alpha, b.version, b.round, b.quarantined, ahead)

    def concerns(self, agent: int) -> bool:
        """Whether an answer about the agent is awaited."""
        return any(agent in _agents(order) for order in self.open)

    @property
    def plays(self) -> bool:
        """Whether a round is under way."""
        return any(isinstance(order, RoundOrder) for order in self.open)

    def asked_for_state(self, agent: int) -> bool:
        """Whether the agent's state is awaited."""
        return StateOrder(agent) in self.open

    def receive(self, mail: Mail) -> None:
        """Take in what has come. Where the channel is lost, it is `broken`."""
        assert self.channel is not None, "something was heard over it"
        try:
            answer = self.channel.receive()
        except ChannelLost as error:
            self.broken = str(error)
            return
        order = self.open.popleft()
        if isinstance(order, StateOrder):
            mail.states[order.agent] = answer
        elif isinstance(answer, Raised):
            self._lost(order, brief(answer.error, 400), answer.detail, mail)
            self.failed = isinstance(order, RoundOrder)
        elif isinstance(order, AddOrder):
            mail.came_up.append(Started(order.config.index))
        else:
            mail.results += results_of(answer)

    def bury(self, losses: Losses, mail: Mail) -> None:
        """Its one call is over: say of what, to all who wait for it."""
        self.died_of = self.died_of or self._died_of(losses)
        for order in self.open:
            self._lost(order, *self.died_of, mail)
        self.open.clear()

    def _died_of(self, losses: Losses) -> tuple[str, str]:
        """To be asked for once: a reason is told once (`Losses`), and may be wanted again."""
        try:
            ray.get(self.serving)
            return f"its line broke: {self.broken or 'it hung up'}", ""
        except RayTaskError as error:
            return brief(error.cause, 400), str(error)
        except RayError as error:
            detail = str(error) if isinstance(error, RayActorError) else ""
            return losses.reason(error), detail

    def _lost(
        self, order: AddOrder | RoundOrder | StateOrder, reason: str, detail: str, mail: Mail
    ) -> None:
        lost = [Lost(agent, reason, detail) for agent in _agents(order)]
        if isinstance(order, RoundOrder):
            mail.results += lost
        elif isinstance(order, AddOrder):
            mail.came_up += lost

    def end(self) -> None:
        """End its process; nothing is heard of it any more."""
        self.gone = True
        self.open.clear()
        if self.channel is not None:
            self.channel.close()
        ray.kill(self.handle)


def _agents(order: AddOrder | RoundOrder | StateOrder) -> tuple[int, ...]:
    if isinstance(order, RoundOrder):
        return order.agents
    return (order.config.index if isinstance(order, AddOrder) else order.agent,)
