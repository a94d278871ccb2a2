"""One loss that is evolved: its checkpoints, its snapshots and its rows.

The folder is laid out as a meta-training run's (`runs.folder`): the snapshots below objectives/ are
losses by generation, checkpoints are complete after each generation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from metagenrl.base.paths import naming_lost_folder
from metagenrl.base.retry import PATIENCE, patiently
from metagenrl.baselines.epg.inner_loop import InnerLoop
from metagenrl.baselines.epg.loss_net import LossNet, initial_loss_parameters
from metagenrl.baselines.epg.outer_loop import LossEvolution
from metagenrl.cluster.epg.loops import LoopEnded
from metagenrl.cluster.epg.recorder import EpgRecorder, Generation
from metagenrl.objective_server.snapshots.find import snapshot_path
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.runs.checkpoints import Checkpoints
from metagenrl.runs.config.epg import KIND, EpgTrainConfig
from metagenrl.runs.config.yaml import to_dict, to_yaml
from metagenrl.runs.folder import open_folder

KEEP_CHECKPOINTS = 2


class EpgRun:
    """A run of one seed, from its newest checkpoint or from the start."""

    def __init__(self, config: EpgTrainConfig, recorder: EpgRecorder) -> None:
        self._config, self._recorder = config, recorder
        self._run = open_folder(config.run_dir, to_yaml(config), config.resume).id
        generator = torch.Generator().manual_seed(config.seed)
        phi = initial_loss_parameters(LossNet(config.agent.features), generator)
        self.evolution = LossEvolution(config.evolution, phi, config.seed)
        self._ends: dict[int, LoopEnded] = {}
        self._checkpoints = Checkpoints(config.run_dir, KEEP_CHECKPOINTS)
        states = self._checkpoints.load() if config.resume else None
        if states is not None:
            self.evolution.load_state_dict(states["evolution"])
            recorder.load_state_dict(states["recorder"], self.evolution.generation)
        elif config.resume:  # killed within its first generation, perhaps after its rows
            recorder.load_state_dict(recorder.state_dict(), 0)
        self._announce()

    def _announce(self) -> None:
        c, generation = self._config, self.evolution.generation
        already = f", {generation} done already" if c.resume else ""
        self._recorder.say(
            f"EPG in {', '.join(c.environments)}: {c.evolution.generations} generations of "
            f"{c.evolution.noise_vectors} inner loops of {c.loop_steps:,} steps{already}"
        )
        if generation == 0 or self.finished:
            self._snapshot()

    @property
    def finished(self) -> bool:
        """Whether there is no generation to come."""
        return self.evolution.generation >= self._config.evolution.generations

    def begin(self) -> list[InnerLoop]:
        """The inner loops of the next generation, by noise vector."""
        c, evolution = self._config, self.evolution
        self._ends = {}
        self._recorder.begin(evolution.generation)
        weight = c.evolution.ppo_weight(evolution.generation)
        return [
            InnerLoop(
                c.agent, c.env_of(vector), evolution.agent_seed(vector), phi, weight, c.updates,
                c.fitness_episodes, c.eval_max_steps,
            )
            for vector, phi in enumerate(evolution.perturbed())
        ]  # fmt: skip

    def ended(self, end: LoopEnded) -> None:
        """One of them came to its end."""
        self._ends[end.index] = end
        self._recorder.ended(self.evolution.generation, end)

    def complete(self) -> None:
        """Update the loss, once all of them have. Raises `RuntimeError` where all failed."""
        evolution, index = self.evolution, self.evolution.generation
        ordered = [self._ends[vector] for vector in range(len(self._ends))]
        fitness = [None if end.result is None else end.result.fitness for end in ordered]
        if all(value is None for value in fitness):
            raise RuntimeError(f"all inner loops of generation {index} failed")
        before = evolution.phi.clone()
        norm = evolution.update(fitness, [self._config.env_of(end.index) for end in ordered])
        self._recorder.generation(
            Generation(
                index,
                ordered,
                self._config.evolution.ppo_weight(index),
                norm,
                float(torch.linalg.vector_norm(evolution.phi - before)),
                float(torch.linalg.vector_norm(evolution.phi)),
            )
        )
        if self.finished or evolution.generation % self._config.snapshot_every == 0:
            self._snapshot()
        parts: dict[str, Any] = {
            "evolution": evolution.state_dict,
            "recorder": self._recorder.state_dict,
        }
        if not self._checkpoints.save(evolution.generation, parts) and self.finished:
            patiently(lambda: self._last_checkpoint(parts), self.say)

    def _last_checkpoint(self, parts: dict[str, Any]) -> None:
        with naming_lost_folder(self._config.run_dir):
            if not self._checkpoints.save(self.evolution.generation, parts):
                raise self._checkpoints.error or OSError("last checkpoint not written")

    def say(self, line: str) -> None:
        """One line for the user and for the log."""
        self._recorder.say(line)

    def _snapshot(self) -> None:
        """Keep the loss under its generation; a full disk stops the run at its end alone."""
        generation = self.evolution.generation
        path = snapshot_path(self._config.run_dir, generation)
        snapshot = ObjectiveSnapshot(
            alpha=np.array(self.evolution.phi.numpy()),
            version=generation,
            config={"kind": KIND, **to_dict(self._config.agent)},
            environments=self._config.environments,
            steps=self._recorder.agent_steps,
            run=self._run,
        )

        def write() -> None:
            with naming_lost_folder(self._config.run_dir):
                path.parent.mkdir(exist_ok=True)
                snapshot.save(path)

        try:
            patiently(write, self.say, PATIENCE if self.finished else 0.0)
        except OSError as error:
            if self.finished:
                raise
            self._recorder.say(f"snapshot failed: {error.strerror}")
