"""Hyper-parameters of the on-policy baselines (appendix B.3), beside those of `AgentConfig`.

Network sizes, gamma and, for REINFORCE, lambda and both step sizes are the agent's own. Validated
on construction, as `hyperparams` does.
"""

from __future__ import annotations

from dataclasses import dataclass

from metagenrl.base.checks import require, require_at_least, require_positive


@dataclass(frozen=True)
class OnPolicyConfig:
    """Rollouts of `reinforce`, `ppo` and `rl2`, and the critic that REINFORCE fits to them."""

    rollout_steps: int = 1_000
    """Environment steps that one update of an on-policy algorithm is computed from."""
    value_epochs: int = 20
    """Adam steps of the critic V(s) on each rollout (reinforce)."""

    def __post_init__(self) -> None:
        require_at_least(self, 2, "rollout_steps")
        require_at_least(self, 1, "value_epochs")


@dataclass(frozen=True)
class PpoConfig:
    """PPO, tuned for continuous control (Schulman et al. 2017; the usual MuJoCo settings)."""

    learning_rate: float = 3e-4
    """Adam's step size at the start; falls linearly to 0 over the run."""
    gae_lambda: float = 0.95
    """Lambda of GAE."""
    clip: float = 0.2
    """Bound of the probability ratio's distance from 1."""
    epochs: int = 10
    """Passes over each rollout."""
    minibatch: int = 64
    """Steps of a minibatch."""
    value_weight: float = 0.5
    """Weight of the critic's loss."""
    entropy_weight: float = 0.0
    """Weight of the entropy bonus."""
    gradient_clip: float = 0.5
    """Global norm that gradients are clipped to."""

    def __post_init__(self) -> None:
        require_positive(self, "learning_rate", "clip", "gradient_clip")
        require_at_least(self, 1, "epochs", "minibatch")
        require_at_least(self, 0, "value_weight", "entropy_weight")
        require(0 <= self.gae_lambda <= 1, "gae_lambda", self.gae_lambda, "a number in [0, 1]")


@dataclass(frozen=True)
class Rl2Config:
    """RL^2 (Duan et al. 2016; Wang et al. 2016) as in appendix B.3: PPO with a recurrent policy."""

    lstm_units: int = 64
    """Units of the LSTM (appendix B.3)."""
    episodes_per_trial: int = 2
    """Episodes in a row over which the LSTM's state is kept (appendix B.3)."""
    sequence_length: int = 20
    """Steps that gradients flow back in time."""
    pad_observations: int = 0
    """Size that observations are zero-padded to; 0: the largest training environment's."""
    pad_actions: int = 0
    """Size that actions are zero-padded to; 0: the largest training environment's."""

    def __post_init__(self) -> None:
        require_at_least(self, 1, "lstm_units", "episodes_per_trial", "sequence_length")
        require_at_least(self, 0, "pad_observations", "pad_actions")
