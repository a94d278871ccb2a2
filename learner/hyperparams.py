"""Every hyper-parameter of the method, with the table or section of the paper it comes from.

Defaults are the paper's (Tables 3 and 4). Files of earlier releases lack the fields that came
later, and an absent field has its default: a new field's default must be what the program did
before it (tests/runs/test_stored_config.py lists them). Validation happens on construction: a bad
value raises `ValueError` with one line that names the field, the value and what is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from metagenrl.base.checks import (
    require,
    require_at_least,
    require_at_most,
    require_fraction,
    require_positive,
)

MOST_UNITS = 16_384
"""Of a layer: its square is 1 GiB of weights."""

Normalization = Literal["zscore", "joint", "td"]
InnerReduction = Literal["sum", "mean"]
LearningRateDecay = Literal["none", "cosine"]
GradientScaling = Literal["clip", "normalize"]
Precision = Literal["fp32", "mixed"]
OuterLoss = Literal["value", "action_regression"]
Device = Literal["cpu", "cuda"]
BackendName = Literal["auto", "reference", "native"]

NATIVE_UNITS = 128
"""Widest network that runs as one C call: above it, the BLAS is faster than our blocks of rows."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """Architecture of the learned objective L_alpha (Figure 2, Eq. 7, appendix B.1)."""

    lstm_units: int = 32
    """Units of the LSTM that runs backwards in time (Table 3)."""
    hidden_units: int = 32
    """Units of the action embedding, the input MLP and the head (Table 3: 3 x 32)."""
    input_features: int = 8
    """Features that reward, time and values are embedded into (authors' code)."""
    eta: float = 1000.0
    """Bound of the objective, l = eta * tanh(x / eta) (Table 3)."""
    use_time: bool = True
    """Feed the position in the segment (Figure 5's ablation switches it off)."""
    use_value: bool = True
    """Feed V_t; False drops both values (Figure 5's ablation)."""
    use_next_value: bool = True
    """Feed V_{t+1}; ignored where `use_value` is False."""
    use_observation: bool = False
    """Feed the observation through a per-dimension encoder and a mean (appendix B.1)."""
    bidirectional: bool = False
    """Add a second LSTM that runs forwards in time (the conclusion's variant)."""
    normalization: Normalization = "zscore"
    """How rewards and values are normalised: `zscore`, each on its own (the paper); `joint`, on one
    scale; `td`, with the temporal difference in the place of V_{t+1} (docs/algorithm.md, section
    12)."""
    reflect_actions: bool = False
    """Reverse the signs of a_t and pi in every other segment of a minibatch, so that the objective
    cannot learn to push all actions in one direction (docs/algorithm.md, section 12)."""
    td_discount: float = 0.99
    """Discount of the temporal difference that `normalization = td` feeds."""
    use_advantage: bool = False
    """Feed the advantage of the taken action, A_t = Q(s_t, a_t) - V_t, over its root mean square
    (docs/algorithm.md, section 12)."""
    resample_noise: float = 0.0
    """Show the objective, in the place of the taken action, one that is drawn around the policy,
    clip(pi(s_t) + epsilon, -1, 1): the standard deviation of epsilon; 0: the taken action (the
    paper). The advantage is that of the action shown (docs/algorithm.md, section 12)."""
    use_critic_direction: bool = False
    """Feed dQ/da at pi(s_t), over its root mean square, beside each action dimension's pair
    (a_t, pi): DDPG becomes representable, which the paper excludes on purpose (section 12)."""

    def __post_init__(self) -> None:
        require_at_least(self, 1, "lstm_units", "hidden_units", "input_features")
        require_at_most(self, MOST_UNITS, "lstm_units", "hidden_units", "input_features")
        require(self.hidden_units % 2 == 0, "hidden_units", self.hidden_units, "an even number")
        require_positive(self, "eta")
        require_fraction(self, "td_discount")
        allowed = ("zscore", "joint", "td")
        require(
            self.normalization in allowed, "normalization", self.normalization, ", ".join(allowed)
        )
        require(
            self.use_value or self.normalization == "zscore",
            "normalization",
            self.normalization,
            "zscore where use_value is False",
        )
        require(
            self.use_next_value or self.normalization != "td",
            "normalization",
            self.normalization,
            "zscore or joint where use_next_value is False",
        )
        require(
            self.use_value or not self.use_advantage,
            "use_advantage",
            self.use_advantage,
            "False where use_value is False",
        )
        require_at_least(self, 0, "resample_noise")
        require(
            self.use_advantage or self.resample_noise == 0,
            "resample_noise",
            self.resample_noise,
            "0 where use_advantage is False: nothing else says how good such an action is",
        )


@dataclass(frozen=True)
class AgentConfig:
    """One agent: networks, replay, critic, policy and exploration (Tables 3 and 4)."""

    hidden_units: int = 350
    """Units of each hidden layer of policy and critics (Table 3)."""
    hidden_layers: int = 2
    """Hidden layers; with the output layer these are the paper's "3 layers" (Table 3)."""
    segment_length: int = 20
    """Steps T of a trajectory segment (Table 3)."""
    batch_size: int = 100
    """Segments B of a minibatch (Table 3)."""
    gamma: float = 0.99
    """Discount factor (Table 3)."""
    gae_lambda: float = 0.97
    """Lambda of GAE, used by the REINFORCE objective (authors' code)."""
    policy_learning_rate: float = 1e-3
    """Adam's step size for the policy (Table 3)."""
    critic_learning_rate: float = 1e-3
    """Adam's step size for both critics (Table 3)."""
    policy_gradient_clip: float = 1.0
    """Global norm the policy's gradient is clipped to (Table 3)."""
    action_penalty: float = 0.0
    """Weight of mean max(|x| - 1.5, 0)^2 in the policy's loss, x its output before tanh; relative
    to the root mean square of the objective's gradient by the action; 0: none (the paper)."""
    polyak: float = 0.005
    """Rate at which target networks follow (Table 3)."""
    target_noise: float = 0.2
    """Standard deviation of the target policy's smoothing noise (Table 3)."""
    target_noise_clip: float = 0.5
    """Bound of the smoothing noise (Table 3)."""
    policy_delay: int = 2
    """Environment steps per policy, target and objective update (TD3; section 4)."""
    twin_critics: bool = True
    """Clipped double-Q learning (TD3); False is plain DDPG."""
    random_steps: int = 10_000
    """Steps of uniformly random actions at the start of a life (Table 4)."""
    exploration_noise: float = 0.1
    """Standard deviation of the Gaussian added to actions afterwards (Table 4)."""
    replay_capacity: int = 1_000_000
    """Transitions the replay buffer holds (Table 4)."""
    precision: Precision = "fp32"
    """Number format of matrix products. `fp32`: float32 (the paper). `mixed`: bfloat16 in the
    critic's update and in the outer half of the meta-gradient, 16 bits elsewhere on a processor
    with a matrix unit; faster, for networks of more than 128 units or on a GPU. With several inner
    steps the meta-gradient stays float32."""
    learning_starts: int = 1_000
    """Steps collected before the first update; at least enough for its minibatches."""

    def __post_init__(self) -> None:
        require_at_least(self, 1, "hidden_units", "hidden_layers", "segment_length", "batch_size")
        require_at_most(self, MOST_UNITS, "hidden_units")
        require_at_least(self, 1, "policy_delay", "replay_capacity", "learning_starts")
        require_at_least(self, 0, "random_steps", "exploration_noise", "target_noise")
        require_at_least(self, 0, "target_noise_clip", "action_penalty")
        require_positive(
            self, "policy_learning_rate", "critic_learning_rate", "policy_gradient_clip"
        )
        require_fraction(self, "gamma", "gae_lambda", "polyak")
        require(self.precision in ("fp32", "mixed"), "precision", self.precision, "fp32, mixed")
        require(
            self.replay_capacity > self.segment_length,
            "replay_capacity",
            self.replay_capacity,
            f"more than segment_length ({self.segment_length})",
        )


@dataclass(frozen=True)
class MetaConfig:
    """The objective's update: Eq. 6 and 8, annealing (B.2) and lifetimes."""

    learning_rate: float = 1e-3
    """Adam's step size for alpha (Table 3)."""
    learning_rate_decay: LearningRateDecay = "none"
    """`cosine`: alpha's step size falls to 0 over the run; `none`: constant (the paper)."""
    inner_steps: int = 1
    """k of Eq. 8: policy updates that are differentiated through."""
    inner_step_size: float = 1e-3
    """Step size of the inner SGD update, lambda_3 (Table 3)."""
    inner_reduction: InnerReduction = "sum"
    """Inner loss: `sum` over batch and time (authors' code) or the `mean`."""
    outer_loss: OuterLoss = "value"
    """The goal of alpha: `value`, the critic's value of the updated policy (Eq. 6), or
    `action_regression` of -dL/d pi on dQ/da, which needs no inner step size (docs/algorithm.md,
    section 12)."""
    gradient_scaling: GradientScaling = "clip"
    """Each agent's meta-gradient: `clip` its norm (the paper), or `normalize` it, so that every
    environment has the same weight with small networks, too (docs/algorithm.md, section 12)."""
    gradient_clip: float = 1.0
    """Global norm that each agent's meta-gradient is clipped or normalised to (Table 3)."""
    anneal_steps: int = 10_000
    """Steps over which the policy's loss moves from -Q to the objective (B.2); 0: none."""
    lifetime: int = 0
    """Steps after which an agent is re-initialised; 0: never (the paper)."""
    stagger: bool = True
    """Spread the agents' first lives so that alpha meets every age at all times."""
    lifetime_random_steps: int = 1_000
    """Steps of random actions at the start of every life after the first."""
    older_policies: float = 0.0
    """Share of the lives that begin with an earlier policy of the agent and its critics, instead of
    new ones, against forgetting (appendix A.2); 0: none (the paper). Needs `lifetime`."""
    archive_size: int = 8
    """Earlier policies that an agent keeps, evenly over its past; for `older_policies`."""

    def __post_init__(self) -> None:
        require_positive(self, "learning_rate", "inner_step_size", "gradient_clip")
        require_at_least(self, 1, "inner_steps")
        require_at_least(self, 1, "archive_size")
        require_at_least(self, 0, "anneal_steps", "lifetime", "lifetime_random_steps")
        require_fraction(self, "older_policies")
        require(
            self.older_policies == 0 or self.lifetime > 0,
            "older_policies",
            self.older_policies,
            "0 where lifetime is 0: a life's start is when an earlier policy comes back",
        )
        for field, allowed in (
            ("learning_rate_decay", ("none", "cosine")),
            ("inner_reduction", ("sum", "mean")),
            ("gradient_scaling", ("clip", "normalize")),
            ("outer_loss", ("value", "action_regression")),
        ):
            require(
                getattr(self, field) in allowed, field, getattr(self, field), ", ".join(allowed)
            )
        require(
            self.inner_steps == 1 or self.outer_loss == "value",
            "inner_steps",
            self.inner_steps,
            "1 where outer_loss is action_regression",
        )
