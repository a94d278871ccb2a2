"""`metagenrl baseline --algo epg --phase train`: the outer loop with its folder and its workers.

The run's folder is laid out as a meta-training run's (`run_folder`): the snapshots below
objectives/ are losses by generation, checkpoints are complete after each generation.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from metagenrl.agents.epg_inner_loop import InnerLoop
from metagenrl.cluster.config import UsageError
from metagenrl.cluster.config_io import to_dict, to_yaml
from metagenrl.cluster.epg_loops import InProcessLoops, LoopEnded, Loops
from metagenrl.cluster.epg_options import KIND, EpgTrainConfig
from metagenrl.cluster.epg_recorder import EpgRecorder, Generation
from metagenrl.cluster.run_folder import Checkpoints, log_to, open_folder
from metagenrl.learner.epg_loss import LossNet, initial_loss_parameters
from metagenrl.learner.loss_evolution import LossEvolution
from metagenrl.objective_server.find import snapshot_path
from metagenrl.objective_server.snapshot import ObjectiveSnapshot
from rich.console import Console

CURVES_FILE = "curves.png"
KEEP_CHECKPOINTS = 2

logger = logging.getLogger(__name__)


def train_epg(config: EpgTrainConfig) -> int:
    """Evolve the loss to the last generation; 0, or 1 where the workers could not be kept alive.

    Raises `UsageError` where the workers do not fit the cluster, before anything is written, and
    `KeyboardInterrupt` once the workers are gone.
    """
    loops = _loops(config)
    identity = open_folder(config.run_dir, to_yaml(config), config.resume)
    handler = log_to(config.run_dir)
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=200)
    try:
        with EpgRecorder(config, console) as recorder:
            EpgTraining(config, identity.id, loops, recorder).run()
    except RuntimeError as error:
        logger.exception("the run ends")
        console.print(f"failed: {error}; the same command with --resume goes on", soft_wrap=True)
        return 1
    finally:
        loops.close()
        logging.getLogger("metagenrl").removeHandler(handler)
        handler.close()
    _draw(config.run_dir)
    return 0


def _loops(config: EpgTrainConfig) -> Loops:
    if config.engine == "inprocess":
        torch.set_num_threads(1)
        return InProcessLoops()
    from metagenrl.cluster.epg_ray import RayLoops
    from metagenrl.cluster.ray_engine import actor_share, connect

    def shared(cpus: float) -> float:
        return actor_share(config.workers, config.worker_cpus, cpus)

    try:
        share = shared(connect(shared))
    except ValueError as error:
        raise UsageError(str(error).replace("agents:", "workers:", 1)) from error
    return RayLoops(config.workers, share, config.loop_timeout, config.max_restarts)


def _draw(run_dir: Path) -> None:
    """A picture that cannot be drawn costs nothing but the picture."""
    from metagenrl.cluster.epg_curves import draw_epg  # matplotlib: once all else is done

    try:
        print(f"curves: {draw_epg(run_dir, run_dir / CURVES_FILE)}")
    except (ValueError, OSError) as error:
        logger.warning("curves.png was not drawn: %s", error)


class EpgTraining:
    """A run, from its newest checkpoint or from the start."""

    def __init__(
        self, config: EpgTrainConfig, run: str, loops: Loops, recorder: EpgRecorder
    ) -> None:
        self._config, self._run, self._loops, self._recorder = config, run, loops, recorder
        generator = torch.Generator().manual_seed(config.seed)
        phi = initial_loss_parameters(LossNet(config.agent.features), generator)
        self.evolution = LossEvolution(config.evolution, phi, config.seed)
        self._checkpoints = Checkpoints(config.run_dir, KEEP_CHECKPOINTS)
        states = self._checkpoints.load() if config.resume else None
        if states is not None:
            self.evolution.load_state_dict(states["evolution"])
            recorder.load_state_dict(states["recorder"], self.evolution.generation)

    def run(self) -> None:
        """Evolve the loss to the last generation. Raises `RuntimeError` as `Loops.run` does."""
        evolution, total = self.evolution, self._config.evolution.generations
        c = self._config
        already = f", {evolution.generation} done already" if c.resume else ""
        self._recorder.say(
            f"EPG in {', '.join(c.envs)}: {total} generations of {c.evolution.noise_vectors} inner "
            f"loops of {c.loop_steps:,} steps{already}"
        )
        if evolution.generation == 0:
            self._snapshot()
        while evolution.generation < total:
            self._generation()
            if evolution.generation % self._config.snapshot_every == 0:
                self._snapshot()
            parts: dict[str, Any] = {
                "evolution": evolution.state_dict,
                "recorder": self._recorder.state_dict,
            }
            self._checkpoints.save(evolution.generation, parts)
        self._snapshot()

    def _generation(self) -> None:
        evolution, index = self.evolution, self.evolution.generation
        ends: dict[int, LoopEnded] = {}

        def on_end(end: LoopEnded) -> None:
            ends[end.index] = end
            self._recorder.ended(index, end)

        self._recorder.begin(index)
        tasks = self._tasks()
        self._loops.run(tasks, on_end)
        ordered = [ends[vector] for vector in range(len(tasks))]
        fitness = [None if end.result is None else end.result.fitness for end in ordered]
        if all(value is None for value in fitness):
            raise RuntimeError(f"all inner loops of generation {index} failed")
        before = evolution.phi.clone()
        norm = evolution.update(fitness, [task.env for task in tasks])
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

    def _tasks(self) -> list[InnerLoop]:
        c, evolution = self._config, self.evolution
        weight = c.evolution.ppo_weight(evolution.generation)
        return [
            InnerLoop(
                c.agent, c.env_of(vector), evolution.agent_seed(vector), phi, weight, c.updates,
                c.fitness_episodes,
            )
            for vector, phi in enumerate(evolution.perturbed())
        ]  # fmt: skip

    def _snapshot(self) -> None:
        """Keep the loss under its generation; a full disk does not stop the run."""
        generation = self.evolution.generation
        path = snapshot_path(self._config.run_dir, generation)
        snapshot = ObjectiveSnapshot(
            alpha=np.array(self.evolution.phi.numpy()),
            version=generation,
            config={"kind": KIND, **to_dict(self._config.agent)},
            environments=self._config.envs,
            steps=self._recorder.agent_steps,
            run=self._run,
        )
        try:
            path.parent.mkdir(exist_ok=True)
            snapshot.save(path)
        except OSError as error:
            self._recorder.say(f"snapshot failed: {error.strerror}")
