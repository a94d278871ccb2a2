"""The report of a round whose server died with it."""

from __future__ import annotations

from collections.abc import Sequence

from metagenrl.cluster.engines.exchange import Gradient
from metagenrl.objective_server.aggregate import euclidean, gradient_cosines, weighted_mean
from metagenrl.objective_server.answers import Broadcast, RoundReport


def report_of(gradients: Sequence[Gradient], broadcast: Broadcast) -> RoundReport:
    """The report of a round that the server closed and then died, so that nobody heard of it.

    The restored server knows the version that the round led to, and we what went into it.
    """
    sound = [gradient for gradient in gradients if gradient.weight]
    norm = euclidean(weighted_mean(sound)) if sound else float("nan")
    cosines = gradient_cosines(sound)
    taken = [(g.round, share) for g in sound for share in g.shares if share.defect is None]
    keys = tuple(sorted((s.agent, s.incarnation, number, s.version) for number, s in taken))
    agents = tuple(key[0] for key in keys)
    return RoundReport(broadcast.round - 1, True, agents, (), norm, float("nan"), cosines, keys)
