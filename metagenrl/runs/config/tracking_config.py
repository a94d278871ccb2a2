"""What shows a run besides its own files: the part of the configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrackingOptions:
    """Trackers; none of them changes what a run computes."""

    wandb_per_agent: bool = False
    """Also a run of its own at Weights & Biases for each agent, in one group."""
    tensorboard: bool = False
    """Write TensorBoard's event files to tensorboard/ in the run's folder."""
