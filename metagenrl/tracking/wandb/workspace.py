"""A saved workspace at Weights & Biases, as code: what to look at to see a population's health."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from metagenrl.base.checks import UsageError
from metagenrl.base.files.atomic import write_atomic
from metagenrl.runs.config.reference import WorkspaceConfig
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import from_yaml
from metagenrl.runs.machine.identity import identity_of
from metagenrl.runs.names import CONFIG_FILE
from metagenrl.tracking.keys import AXIS, HELD_OUT_AXIS
from metagenrl.tracking.values import label
from metagenrl.tracking.wandb.account import has_api_key, wandb_id

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
"""Okabe and Ito's: told apart by colour-blind readers as well."""


def workspace_command(config: WorkspaceConfig) -> int:
    """Save the workspace at W&B and print its address, or write it to a file.

    Raises `UsageError` without an API key or where the server refuses.
    """
    run_dir = config.run
    run = identity_of("run", run_dir).id
    workspace = build_workspace(
        from_yaml(run_dir / CONFIG_FILE), run, config.entity, config.project, run_dir.name
    )
    if config.out is not None:
        write_atomic(config.out, [f"{json.dumps(specification(workspace), indent=2)}\n".encode()])
        print(f"workspace: {config.out}")
        return 0
    if not has_api_key():
        raise UsageError(
            "entity: got no API key of Weights & Biases, allowed: WANDB_API_KEY or `wandb login`, "
            "or --out for a file"
        )
    try:
        workspace.save()
    except Exception as error:  # whatever the server or the way to it says
        raise UsageError(f"entity: got {config.entity!r} ({error}), allowed: yours") from error
    print(f"workspace: {workspace.url}")
    return 0


def build_workspace(
    config: TrainConfig, run: str, entity: str, project: str, name: str
) -> ws.Workspace:
    """The workspace for runs configured like `config`; `run` is the id of the one in colour."""
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"Population {name}",
        sections=[
            _section("Returns", _return_panels(config.envs, config.agent_envs, wandb_id(run))),
            _section("Held-out meta-tests", _held_out_panels(config.held_out.eval_envs)),
            _section("Meta-gradients and objective", _meta_panels(config.envs, config.agents)),
            _section("Health and throughput", _health_panels()),
        ],
        settings=ws.WorkspaceSettings(x_axis=AXIS, sort_panels_alphabetically=False),
        # The runs of its held-out tests and agents would draw the same curves again.
        runset_settings=ws.RunsetSettings(filters=[ws.Metric("JobType") == "population"]),
    )


def specification(workspace: ws.Workspace) -> dict[str, Any]:
    """The workspace as W&B stores it."""
    model: Any = workspace._to_model()
    content: dict[str, Any] = json.loads(model.spec.model_dump_json(by_alias=True))
    return content


def _section(name: str, panels: Sequence[Any]) -> ws.Section:
    layout = ws.SectionLayoutSettings(columns=3, rows=-(-len(panels) // 3))
    return ws.Section(name=name, panels=list(panels), is_open=True, layout_settings=layout)


def _lines(title: str, keys: Iterable[str], x: str = AXIS, **more: Any) -> wr.LinePlot:
    return wr.LinePlot(title=title, x=x, y=list(keys), title_x="environment steps", **more)


def _return_panels(envs: Sequence[str], agent_envs: Sequence[str], run: str) -> list[Any]:
    panels: list[Any] = []
    for index, env in enumerate(envs):
        keys = [f"agent/{agent:02d}/return" for agent, its in enumerate(agent_envs) if its == env]
        colours = {f"{run}:{key}": COLOURS[index % len(COLOURS)] for key in keys}
        panels.append(_lines(f"Return per agent, {env}", keys, line_colors=colours))
    for index, env in enumerate(envs):
        prefix, colour = f"population/{label(env)}/return_", COLOURS[index % len(COLOURS)]
        keys = [f"{prefix}{statistic}" for statistic in ("median", "q25", "q75")]
        marks = {f"{run}:{key}": "dotted" for key in keys[1:]}
        colours = {f"{run}:{key}": colour for key in keys}
        title = f"Population median and quartiles, {env}"
        panels.append(_lines(title, keys, line_colors=colours, line_marks=marks))
    heat_map = wr.MediaBrowser(title="Agents by time", media_keys=["population/heat_map"])
    return [*panels, heat_map]


def _held_out_panels(envs: Sequence[str]) -> list[Any]:
    panels: list[Any] = [
        _lines(
            f"New agents in {env}",
            [f"heldout/{label(env)}/return{suffix}" for suffix in ("", "_min", "_max")],
            x=HELD_OUT_AXIS,
        )
        for env in envs
    ]
    score = _lines("Score", ["heldout/score", "heldout/best_score"], x=HELD_OUT_AXIS)
    best = wr.ScalarChart(title="Best version", metric="heldout/best_version")
    return [*panels, score, best]


def _meta_panels(envs: Sequence[str], agents: int) -> list[Any]:
    norms = [f"agent/{agent:02d}/gradient_norm" for agent in range(agents)]
    by_env = [f"meta/cosine/{label(env)}" for env in envs]
    return [
        _lines("Norm of the mean meta-gradient", ["meta/gradient_norm"], log_y=True),
        _lines("Norms of the agents' meta-gradients", norms, log_y=True),
        _lines("Agreement of meta-gradients (cosine)", ["meta/cosine", *by_env]),
        _lines("Gradients", [f"meta/{n}" for n in ("accepted", "rejected", "stale", "duplicate")]),
        _lines("Norm of the objective", ["objective/norm"]),
        _lines("Norm of its updates", ["meta/update_norm"], log_y=True),
    ]


def _health_panels() -> list[Any]:
    return [
        _lines("Staleness (versions)", ["server/lag", "server/lag_max"]),
        _lines("Restarts", ["population/restarts"]),
        _lines("Agents that learn", ["population/learning"]),
        _lines("Agent-steps per second", ["system/agent_steps_per_s"]),
        _lines("Memory (bytes)", ["system/rss", "system/rss_driver"]),
        _lines("Held-out tests waiting", ["heldout/waiting"]),
    ]
