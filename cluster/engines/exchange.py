"""Gradients to the objective server and what it answers; without torch, as the server is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metagenrl.base.messages import CohortGradient
from metagenrl.objective_server.answers import Broadcast, Totals
from metagenrl.objective_server.server import ObjectiveServer

Gradient = CohortGradient


@dataclass(frozen=True)
class Exchange:
    """The server's answer to some gradients."""

    broadcast: Broadcast
    closed: bool  # whether the open round was closed
    totals: Totals  # of all agents so far


def exchange(
    server: ObjectiveServer,
    gradients: Sequence[Gradient],
    expected: Sequence[int],
    round_index: int,
    close: bool,
) -> Exchange:
    """`Engine.exchange` on the server itself; safe to repeat when the answer was lost."""
    server.submit(gradients)
    if close or (server.round == round_index and server.ready(expected)):
        broadcast = server.close_round(round_index, expected)
    else:
        broadcast = server.broadcast()
    closed = broadcast.round > round_index
    return Exchange(broadcast, closed, server.totals())
