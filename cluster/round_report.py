"""The report of a round whose server died with it."""

from __future__ import annotations

from collections.abc import Sequence

from metagenrl.learner.types import AlphaGradient
from metagenrl.objective_server.aggregate import euclidean, gradient_cosines, weighted_mean
from metagenrl.objective_server.messages import Broadcast, RoundReport


def report_of(gradients: Sequence[AlphaGradient], broadcast: Broadcast) -> RoundReport:
    """The report of a round that the server closed and then died, so that nobody heard of it.

    The restored server knows the version that the round led to, and we what went into it.
    """
    norm = euclidean(weighted_mean(gradients)) if gradients else float("nan")
    agents = tuple(sorted(gradient.agent for gradient in gradients))
    cosines = gradient_cosines(gradients)
    return RoundReport(broadcast.round - 1, True, agents, (), norm, float("nan"), cosines)
