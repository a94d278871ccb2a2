"""An explanation in words and numbers, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metagenrl.analysis.explain.findings import RULES, Findings
from metagenrl.analysis.explain.measures import ADVANTAGE
from metagenrl.analysis.number_text import markdown_table

STRONG, WEAK = 0.5, 0.1
"""Cosines from which on, and below which, two directions are said to agree, or not to."""


def describe(findings: Findings, subject: str, source: str) -> str:
    """A short text with a table for each question; `source` says whose trajectories they are."""
    parts = [
        f"# {subject}, version {findings.version}",
        f"On {source}: {findings.agents} agent(s) in {', '.join(findings.environments)}.",
        "## Where it sends the policy",
        _alignment_table(findings),
        _alignment_sentences(findings),
        "## What it listens to",
        "Relative change of dL/dπ for one standard deviation of an input, at any step.",
        _sensitivity_table(findings),
        _sensitivity_sentences(findings),
        "## How it responds",
        _response_sentences(findings),
    ]
    if len(findings.versions) > 1:
        parts += ["## How it changed", _versions_table(findings)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _alignment_table(findings: Findings) -> str:
    rows = []
    for env in findings.environments:
        for rule in RULES:
            of_env = [a for a in findings.alignments if a.env == env]
            actions = [a.actions[rule] for a in of_env]
            parameters = [a.parameters[rule] for a in of_env]
            rows.append([env, rule, _mean_and_range(actions), _mean_and_range(parameters)])
    header = ["environment", "direction", "cosine, actions", "cosine, policy parameters"]
    return markdown_table(header, rows)


def _mean_and_range(values: Sequence[float]) -> str:
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return "-"
    if len(known) == 1:
        return f"{known[0]:+.2f}"
    return f"{np.mean(known):+.2f} ({min(known):+.2f} to {max(known):+.2f})"


def _alignment_sentences(findings: Findings) -> str:
    sentences = []
    for rule in RULES:
        values = [a.actions[rule] for a in findings.alignments if np.isfinite(a.actions[rule])]
        if values:
            mean = float(np.mean(values))
            what = "REINFORCE follows" if rule == ADVANTAGE else "DDPG and TD3 follow"
            sentences.append(f"Its update {_agreement(mean)} what {what} (cosine {mean:+.2f}).")
    return " ".join(sentences)


def _agreement(value: float) -> str:
    if abs(value) < WEAK:
        return "has next to nothing in common with"
    strength = "clearly" if abs(value) >= STRONG else "weakly"
    return f"{strength} {'agrees with' if value > 0 else 'opposes'}"


def _sensitivity_table(findings: Findings) -> str:
    rows = []
    for name in findings.inputs:
        cells = [
            f"{np.mean([by[name] for e, by in findings.sensitivities if e == env]):.3f}"
            for env in findings.environments
        ]
        rows.append([name, *cells])
    return markdown_table(["input", *findings.environments], rows)


def _sensitivity_sentences(findings: Findings) -> str:
    means = {
        name: float(np.mean([by[name] for _, by in findings.sensitivities]))
        for name in findings.inputs
    }
    ranked = sorted(means, key=lambda name: -means[name])
    total = findings.reach.sum(axis=1)  # [T]
    share = total[0] / total.sum() if total.sum() > 0 else float("nan")
    return (
        f"Most of all to {ranked[0]} ({means[ranked[0]]:.3f}), least to {ranked[-1]} "
        f"({means[ranked[-1]]:.3f}). Of what moves the gradient of a segment's first step, "
        f"{share:.0%} is that step's own inputs, the rest comes from later ones."
    )


def _response_sentences(findings: Findings) -> str:
    lines = []
    for name, curve in findings.responses.items():
        changes = {env: float(v[-1] - v[0]) for env, v in curve.values.items()}
        told = ", ".join(f"{change:+.2f} in {env}" for env, change in changes.items())
        lines.append(
            f"- pull towards the taken action, from {curve.grid[0]:g} to {curve.grid[-1]:g} of "
            f"{name}: {told}"
        )
    for name, curve in findings.action_responses.items():
        slopes = {env: _slope(curve.grid, values) for env, values in curve.values.items()}
        told = ", ".join(f"{slope:+.2f} in {env}" for env, slope in slopes.items())
        lines.append(f"- push per unit of (taken action minus policy's), {name}: {told}")
    return "\n".join(lines)


def _slope(grid: np.ndarray, values: np.ndarray) -> float:
    return float(np.polyfit(grid, values, 1)[0])


def _versions_table(findings: Findings) -> str:
    header = ["version", *(f"cosine, {rule}" for rule in RULES), *findings.inputs]
    rows = [
        [
            str(v.version),
            *(f"{v.alignment[rule]:+.2f}" for rule in RULES),
            *(f"{v.sensitivity[name]:.3f}" for name in findings.inputs),
        ]
        for v in findings.versions
    ]
    return markdown_table(header, rows)
