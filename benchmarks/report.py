"""The results as a table to read and as JSON to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.machine import Machine
from benchmarks.measure import Row, SizeResult
from benchmarks.timing import Timing

_WIDTH = 32
_EXPLANATION = (
    "All updates but those of `agent-step in ...` take synthetic minibatches; that row acts, steps "
    "the environment and samples the replay buffer as well.",
    "GFLOP: matrix products of the fast form of Eq. 6. Policy and objective share an evaluation "
    "in the project; plain PyTorch gives each minibatches of its own.",
    "Ratio: project over plain PyTorch, medians. % of the limit: GEMM limit over median. The limit "
    "is the best rate of the libraries' float32 products; a matrix unit's (+amx) can pass it.",
)


def gemm_limit(results: Sequence[SizeResult]) -> float:
    """The best rate of this run, in 1e9 operations a second."""
    return max(rate for result in results for rate in result.gflops.values())


def row_values(row: Row, limit: float) -> dict[str, Any]:
    """A row of the table: milliseconds, and how near they come to the GEMM limit."""
    limit_ms = row.flops / limit / 1e6
    values: dict[str, Any] = {
        "task": row.name,
        "gflop": row.flops / 1e9,
        "limit_ms": limit_ms,
        "project": _timing(row.project, limit_ms),
        "reference": _timing(row.reference, limit_ms),
        "project_over_reference": row.project.median / row.reference.median,
    }
    if row.mixed is not None:
        values["mixed"] = _timing(row.mixed, limit_ms)
        values["mixed_over_reference"] = row.mixed.median / row.reference.median
    if row.is_step:
        for who in ("project", "reference", *(["mixed"] if row.mixed else [])):
            values[who]["agent_steps_per_s"] = 1e3 / values[who]["median_ms"]
        values["limit_agent_steps_per_s"] = 1e3 / limit_ms
    return values


def _timing(timing: Timing, limit_ms: float) -> dict[str, Any]:
    return {
        "min_ms": timing.minimum,
        "median_ms": timing.median,
        "percent_of_limit": 100 * limit_ms / timing.median,
        "samples_ms": list(timing.samples),
    }


def as_json(
    machine: Machine, results: Sequence[SizeResult], settings: dict[str, Any], notes: list[str]
) -> dict[str, Any]:
    """Everything that was measured, and where."""
    limit = gemm_limit(results)
    return {
        **settings,
        "machine": asdict(machine),
        "notes": notes,
        "gemm_limit_gflops": limit,
        "sizes": {
            result.problem.name: {
                "problem": asdict(result.problem),
                "rows": [row_values(row, limit) for row in result.rows],
                "gemm_gflops": result.gflops,
                "relative_differences_float64": result.differences,
                "core_share": result.core_share,
            }
            for result in results
        },
    }


def as_text(machine: Machine, results: Sequence[SizeResult], notes: list[str]) -> str:
    """Tables, one for each size; notes at the end, where they are seen."""
    limit = gemm_limit(results)
    versions = ", ".join(f"{name} {value}" for name, value in machine.versions.items())
    lines = [
        f"{machine.cpu}, {machine.cores} cores, governor {machine.governor or 'unknown'}, "
        f"load {machine.load_before:.2f}",
        f"{versions}; {machine.kernels} kernels; one thread, float32",
        f"GEMM limit: {limit:.1f} GFLOP/s, the best of this run",
    ]
    for result in results:
        lines += ["", *_size(result, limit)]
    lines += ["", *_EXPLANATION, *(f"note: {note}" for note in notes)]
    return "\n".join(lines)


def _size(result: SizeResult, limit: float) -> list[str]:
    p = result.problem
    differences = ", ".join(f"{k} {v:.0e}" for k, v in result.differences.items())
    lines = [
        f"{p.name}: {p.agent.hidden_units} units, {p.agent.batch_size} segments of "
        f"{p.agent.segment_length} steps, {p.observation_size} observations, "
        f"{p.action_size} actions; milliseconds",
        f"{'':{_WIDTH}}{'project':>16}{'plain PyTorch':>16}{'ratio':>7}{'GFLOP':>8}"
        f"{'limit':>8}{'% of the limit':>16}",
        f"{'':{_WIDTH}}{'min':>8}{'median':>8}{'min':>8}{'median':>8}{'':>23}"
        f"{'project':>9}{'plain':>7}",
    ]
    rows = [row_values(row, limit) for row in result.rows]
    lines += [_line(values) for values in rows]
    lines += [_rate(values) for values in rows if "limit_agent_steps_per_s" in values]
    lines.append("GEMM, GFLOP/s: " + ", ".join(f"{k} {v:.1f}" for k, v in result.gflops.items()))
    lines.append(f"project against plain PyTorch, gradients in float64, relative: {differences}")
    return lines


def _line(values: dict[str, Any]) -> str:
    project, plain = values["project"], values["reference"]
    return (
        f"{values['task']:{_WIDTH}}{project['min_ms']:8.2f}{project['median_ms']:8.2f}"
        f"{plain['min_ms']:8.2f}{plain['median_ms']:8.2f}{values['project_over_reference']:7.2f}"
        f"{values['gflop']:8.3f}{values['limit_ms']:8.2f}"
        f"{project['percent_of_limit']:9.0f}{plain['percent_of_limit']:7.0f}"
    )


def _rate(values: dict[str, Any]) -> str:
    mixed = values.get("mixed")
    fast = f", in mixed precision {mixed['agent_steps_per_s']:.1f}" if mixed else ""
    return (
        f"{values['task']}, steps/s: project {values['project']['agent_steps_per_s']:.1f}{fast}, "
        f"plain PyTorch {values['reference']['agent_steps_per_s']:.1f}, "
        f"GEMM limit {values['limit_agent_steps_per_s']:.1f}"
    )
