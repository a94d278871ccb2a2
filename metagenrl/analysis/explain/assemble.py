"""From an objective and trajectories to the finished explanation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metagenrl.analysis.explain.config import ExplainConfig
from metagenrl.analysis.explain.findings import Findings, find_out, in_short
from metagenrl.analysis.explain.pictures import draw_findings
from metagenrl.analysis.explain.trajectories import AgentSamples, new_samples, stored_samples
from metagenrl.analysis.explain.words import describe
from metagenrl.base.files.atomic import write_atomic
from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.objective.net import ObjectiveNet, first_alpha
from metagenrl.learner.policy_update import Learned
from metagenrl.objective_server.snapshots.find import (
    find_snapshot,
    snapshot_path,
    snapshot_versions,
)
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.config.presets import PRESETS
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.config.yaml import build, from_yaml
from metagenrl.runs.names import CONFIG_FILE

TEXT_FILE = "explain.md"


def make_explanation(config: ExplainConfig) -> tuple[str, Path]:
    """Write text and pictures into the configured folder: the text, and the folder.

    Raises `UsageError` where there are no trajectories and `OSError` where it cannot be written.
    """
    snapshot = ObjectiveSnapshot.load(find_snapshot(config.objective, config.wanted))
    net = ObjectiveNet(build(ObjectiveConfig, snapshot.config))
    snapshot.expect(net.config, net.layout.size)
    run = config.run
    training = None if run is None else from_yaml(run / CONFIG_FILE)
    alpha = _tensor(snapshot)
    samples, source = _samples(config, training, Learned(net, alpha))
    if net.config.resample_noise:
        std = f"standard deviation {net.config.resample_noise:g}"
        source += f", with actions drawn around the policy ({std}) in the place of the taken ones"
    findings = find_out(net, snapshot.version, alpha, samples, config.seed)
    if run is not None and training is not None:
        chosen = _versions(run, snapshot.version, config.versions)
        alphas = _alphas(run, first_alpha(training.objective, training.seed), chosen)
        short = in_short(net, alphas, samples, config.seed)
        findings = dataclasses.replace(findings, versions=short)
    return _write(findings, config, run, source)


def _samples(
    config: ExplainConfig, training: TrainConfig | None, objective: Learned
) -> tuple[list[AgentSamples], str]:
    """The minibatches, and whose they are."""
    if config.env is None:
        assert config.run is not None  # `check_explain` saw to it
        assert training is not None
        stored = stored_samples(
            config.run, training.agent_envs, training.agent, objective.resample_noise,
            config.agents, config.minibatches, config.seed,
        )  # fmt: skip
        return stored, "the trajectories in the run's newest checkpoint"
    agent = (training or PRESETS[config.new_preset].train).agent
    if config.preset is not None:
        agent = PRESETS[config.new_preset].train.agent
    steps = config.new_steps
    new = new_samples(config.env, agent, objective, steps, config.minibatches, config.seed)
    return new, f"the trajectories of a new agent that it trained for {steps:,} steps"


def _versions(run: Path, shown: int, count: int) -> list[int]:
    """`count` of the run's versions, spread evenly, the untrained 0 and the shown one included."""
    there = [0, *(v for v in snapshot_versions(run) if v <= shown and v > 0)]
    if count == 0 or len(there) < 2:
        return []
    taken = np.unique(np.linspace(0, len(there) - 1, min(count, len(there))).round().astype(int))
    return [there[index] for index in taken]


def _alphas(run: Path, first: Tensor, versions: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """Alpha by version; version 0 is `first`."""
    for version in versions:
        if version == 0:
            yield 0, first
        else:
            yield version, _tensor(ObjectiveSnapshot.load(snapshot_path(run, version)))


def _tensor(snapshot: ObjectiveSnapshot) -> Tensor:
    return torch.from_numpy(snapshot.alpha.copy())


def _write(
    findings: Findings, config: ExplainConfig, run: Path | None, source: str
) -> tuple[str, Path]:
    folder = config.folder
    folder.mkdir(parents=True, exist_ok=True)
    subject = f"Objective of {(run or config.objective).name}"
    text = describe(findings, subject, source)
    draw_findings(findings, f"{subject}, version {findings.version}", folder)
    write_atomic(folder / TEXT_FILE, [text.encode()])
    return text, folder
