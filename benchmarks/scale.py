"""What a round of many agents costs the driver and the objective server, with stub agents.

    python -m benchmarks.scale --agents 20 200 1000

prints one JSON line for each population. The stubs answer every order at once with a gradient of
the paper's size, over the lines that real actors have, from one process; driver and server are the
real ones, the server on files. Figures are CPU time, so that other work counts little.
"""

from __future__ import annotations

import json
import multiprocessing
import selectors
import tempfile
import time
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.server_rate import PARAMETERS
from metagenrl.agents.reports import CohortReport, MemberReport
from metagenrl.base.messages import AlphaGradient, GradientShare, average
from metagenrl.cluster.engines.actor_host import ActorHost
from metagenrl.cluster.engines.actors import RoundOrder
from metagenrl.cluster.engines.channel import Channel, ChannelLost, Invitation
from metagenrl.cluster.engines.exchange import exchange
from metagenrl.cluster.engines.interface import Averaged
from metagenrl.cluster.engines.switchboard import Switchboard
from metagenrl.objective_server.answers import Broadcast
from metagenrl.objective_server.config import ServerConfig
from metagenrl.objective_server.server import ObjectiveServer
from metagenrl.objective_server.state import ServerState
from metagenrl.objective_server.store.in_folder import FileStore

LONGEST = 120.0  # seconds of a round


@dataclass(frozen=True)
class ScaleOptions:
    """One measurement for each population."""

    agents: tuple[int, ...] = (20, 200, 1_000)
    """Sizes of the populations."""
    rounds: int = 10
    """Rounds that are counted."""


@dataclass(frozen=True)
class ScaleCost:
    """Of one round, medians."""

    agents: int
    driver_ms: float  # CPU: orders out, answers in
    server_ms: float  # CPU: from the messages to the committed round
    megabytes: float  # over the lines, there and back


def _answer(order: RoundOrder, gradient: np.ndarray[Any, Any]) -> CohortReport:
    (agent,) = order.agents
    found = AlphaGradient("b", agent, 0, order.round, order.version, gradient, 1.0, f"e{agent % 2}")
    share = GradientShare(agent, 0, order.version, 1.0)
    report = MemberReport(
        agent, found.environment, 0, 2 * order.round, 0, 0, share, (), 0.0, 0.0, 0.0, 0.0, 0.0
    )
    return CohortReport((report,), (), average([found]))


def stubs(invitations: list[Invitation]) -> None:
    """Agents that only answer, until the driver hangs up."""
    rng = np.random.default_rng(0)
    gradient = (rng.normal(size=PARAMETERS) / PARAMETERS**0.5).astype(np.float32)
    with selectors.DefaultSelector() as lines:
        for invitation in invitations:
            lines.register(invitation.accept(), selectors.EVENT_READ)
        try:
            while True:
                for key, _ in lines.select():
                    channel = key.fileobj
                    assert isinstance(channel, Channel)
                    channel.send(_answer(channel.receive(), gradient))
        except ChannelLost:
            return


def _stubs_of(pipe: Connection) -> None:
    stubs(pipe.recv())


class _Handle:
    """In an actor's place: it takes the invitation and leaves the call to the stubs."""

    def __init__(self) -> None:
        self.serve, self.taken = self, list[Invitation]()

    def remote(self, invitation: Invitation) -> None:
        self.taken.append(invitation)


class _Board(Switchboard):
    """Without a Ray that knows who is dead."""

    def _bury(self, hosts: list[ActorHost]) -> None:
        pass


def measure_scale(agents: int, rounds: int) -> ScaleCost:
    """So many rounds of so many stub agents."""
    board, handle = _Board("127.0.0.1", LONGEST), _Handle()
    hosts = [board.engage(handle, 0.0) for _ in range(agents)]
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_stubs_of, args=(theirs,), daemon=True)
    process.start()
    ours.send(handle.taken)
    board.hear_until(lambda: all(host.channel for host in hosts), LONGEST)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _measure(board, hosts, rounds, Path(folder))
    finally:
        for host in hosts:
            if host.channel is not None:
                host.channel.close()
        board.close()
        process.join()


def _measure(board: Switchboard, hosts: list[ActorHost], rounds: int, folder: Path) -> ScaleCost:
    alpha = np.zeros(PARAMETERS, np.float32)
    state = ServerState.start("b", alpha, 1e-3)
    server = ObjectiveServer(state, FileStore(folder), ServerConfig())
    broadcast, costs = server.broadcast(), []
    for _ in range(rounds):
        begin = time.process_time()
        found = _round(board, hosts, broadcast)
        middle = time.process_time()
        result = exchange(server, found, range(len(hosts)), broadcast.round, close=True)
        costs.append((middle - begin, time.process_time() - middle))
        if not result.closed or result.broadcast.version != broadcast.version + 1:
            raise RuntimeError(f"round {broadcast.round} was not applied")
        broadcast = result.broadcast
    driver, central = np.median(costs, axis=0)
    return ScaleCost(len(hosts), 1e3 * driver, 1e3 * central, 2 * len(hosts) * PARAMETERS * 4 / 1e6)


def _round(board: Switchboard, hosts: list[ActorHost], b: Broadcast) -> list[Any]:
    for agent, host in enumerate(hosts):
        board.send(host, RoundOrder((agent,), b.alpha, b.version, b.round, {}, ()))
    board.hear_until(lambda: not board.playing, LONGEST)
    results, board.mail.results = board.mail.results, []
    gradients = [each.gradient for each in results if isinstance(each, Averaged)]
    return sorted(gradients, key=lambda gradient: gradient.agent)


def main() -> None:
    """Carry out the command line."""
    options = tyro.cli(ScaleOptions)
    for agents in options.agents:
        print(json.dumps(asdict(measure_scale(agents, options.rounds))), flush=True)


if __name__ == "__main__":
    main()
