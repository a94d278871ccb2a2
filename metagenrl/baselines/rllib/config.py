"""RLlib's configuration of PPO for continuous control, from ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import MeanStdFilter

from metagenrl.baselines.rllib.policy import FILTER_BOUND, NetworkShape
from metagenrl.learner.types import Array
from metagenrl.runs.config.baselines import PpoConfig


@dataclass(frozen=True)
class PpoRun:
    """One agent's training."""

    seed: int
    steps: int
    """Of the whole run, for the schedule of the learning rate."""
    rollout_steps: int
    gamma: float
    network: NetworkShape
    ppo: PpoConfig


def rllib_config(env: gymnasium.Env[Array, Array], run: PpoRun) -> PPOConfig:
    """PPO in `env`, in this process."""
    ppo = run.ppo
    return (
        PPOConfig()
        .environment(env=lambda _: env)
        .env_runners(
            num_env_runners=0,
            env_to_module_connector=_observation_filter,
        )
        .learners(num_learners=0)
        .training(
            lr=[[0, ppo.learning_rate], [run.steps, 0.0]],
            gamma=run.gamma,
            lambda_=ppo.gae_lambda,
            clip_param=ppo.clip,
            # The value's loss is not clipped: RLlib's default drops every error above sqrt(10).
            vf_clip_param=float("inf"),
            vf_loss_coeff=ppo.value_weight,
            entropy_coeff=ppo.entropy_weight,
            use_kl_loss=False,
            grad_clip=ppo.gradient_clip,
            grad_clip_by="global_norm",
            train_batch_size_per_learner=run.rollout_steps,
            minibatch_size=ppo.minibatch,
            num_epochs=ppo.epochs,
        )
        .rl_module(model_config=run.network.model_config())
    )


def _observation_filter(*_: Any, **__: Any) -> MeanStdFilter:
    return MeanStdFilter(clip_by_value=FILTER_BOUND)
