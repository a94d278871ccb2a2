"""The report of a round whose server died with it."""

from __future__ import annotations

from collections.abc import Sequence

from metagenrl.cluster.engines.exchange import Gradient
from metagenrl.objective_server.aggregate import combine, euclidean
from metagenrl.objective_server.answers import Broadcast, RoundReport, Totals
from metagenrl.runs.row_codec import finite
from metagenrl.runs.rows import ObjectiveRow


def report_of(gradients: Sequence[Gradient], broadcast: Broadcast) -> RoundReport:
    """The report of a round that the server closed and then died, so that nobody heard of it.

    The restored server knows the version that the round led to, and we what went into it.
    """
    sound = [gradient for gradient in gradients if gradient.weight]
    mean, cosines = combine(sound)
    norm = float("nan") if mean is None else euclidean(mean)
    taken = [(g.round, share) for g in sound for share in g.shares if share.defect is None]
    keys = tuple(sorted((s.agent, s.incarnation, number, s.version) for number, s in taken))
    agents = tuple(key[0] for key in keys)
    return RoundReport(broadcast.round - 1, True, agents, (), norm, float("nan"), cosines, keys)


def objective_row(
    report: RoundReport,
    totals: Totals,
    *,
    version: int,
    alpha_norm: float,
    time: float,
    agent_steps: int,
    agent_steps_per_s: float | None,
) -> ObjectiveRow:
    """The row of a closed round; `version` is the one that the round led to."""
    return ObjectiveRow(
        time=time,
        round=report.round,
        version=version,
        contributors=len(report.contributors),
        gradient_norm=finite(report.gradient_norm),
        update_norm=finite(report.update_norm),
        alpha_norm=finite(alpha_norm),
        cosine=finite(report.cosines.overall),
        cosine_by_env=finite(report.cosines.by_environment),
        accepted=totals.accepted,
        rejected=totals.rejected,
        stale=totals.stale,
        duplicate=totals.duplicate,
        agent_steps=agent_steps,
        agent_steps_per_s=agent_steps_per_s,
        applied=tuple(".".join(map(str, key)) for key in report.applied_gradients),
    )
