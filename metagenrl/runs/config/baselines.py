"""The algorithms of `metagenrl baseline`: names, traits, hyper-parameters (appendix B.3).

Network sizes, gamma and, but for PPO, the step sizes are the agent's own (`AgentConfig`). A new
algorithm is a module below `metagenrl/baselines/` and, here, its name, its line in `BASELINES` and,
where it has hyper-parameters of its own, a dataclass with a field of `BaselineOptions`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from typing import Literal

from metagenrl.base.checks import UsageError, require, require_at_least, require_positive

Algorithm = Literal[
    "td3", "ddpg", "sac", "reinforce-off", "reinforce-critic", "reinforce", "ppo", "rl2", "epg"
]


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
class ReinforceCriticConfig:
    """Which actions off-policy REINFORCE with the critic's advantage compares with the policy's."""

    resample_noise: float = 0.0
    """Standard deviation around the policy of the actions that are drawn in the place of the taken
    ones; 0: the taken ones."""

    def __post_init__(self) -> None:
        require_at_least(self, 0, "resample_noise")


@dataclass(frozen=True)
class SacConfig:
    """Soft actor-critic's temperature (Haarnoja et al. 2018)."""

    initial_temperature: float = 1.0
    """Weight of the entropy at the start."""
    target_entropy: float = 1.0
    """Entropy that the temperature is adjusted to, as a multiple of -A (A: action dimensions)."""
    temperature_learning_rate: float = 1e-3
    """Adam's step size for the temperature's logarithm."""

    def __post_init__(self) -> None:
        require_positive(self, "initial_temperature", "temperature_learning_rate")
        require_at_least(self, 0, "target_entropy")


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


@dataclass(frozen=True, kw_only=True)
class BaselineOptions:
    """The options of the algorithms beside their agents'; each reads its own part."""

    on_policy: OnPolicyConfig = field(default_factory=OnPolicyConfig)
    sac: SacConfig = field(default_factory=SacConfig)
    reinforce_critic: ReinforceCriticConfig = field(default_factory=ReinforceCriticConfig)
    ppo: PpoConfig = field(default_factory=PpoConfig)
    rl2: Rl2Config = field(default_factory=Rl2Config)

    def require_read_by(self, algo: Algorithm) -> None:
        """Refuse a value of a section that the algorithm does not read."""
        usual = BaselineOptions()
        for name in [one.name for one in fields(usual) if one.name not in BASELINES[algo].reads]:
            readers = ", ".join(n for n, baseline in BASELINES.items() if name in baseline.reads)
            own, default = getattr(self, name), getattr(usual, name)
            for one in fields(default):
                value, only = getattr(own, one.name), getattr(default, one.name)
                allowed = f"{only} with {algo}, which does not read it (read by: {readers})"
                require(value == only, f"{name}.{one.name}", value, allowed)


@dataclass(frozen=True)
class Library:
    """What a package without its dependencies (`pip install --no-deps`) may lack."""

    requirement: str
    """As pip takes it."""
    modules: tuple[str, ...]
    """Modules that tell whether it is there."""

    @property
    def missing(self) -> list[str]:
        """The modules that are not installed."""
        return [module for module in self.modules if find_spec(module) is None]


RLLIB = Library("ray[rllib]", ("tree", "lz4", "ormsgpack", "scipy"))


@dataclass(frozen=True)
class Baseline:
    """The facts of an algorithm that the rest of the program needs."""

    agent: str = "registry:with_objective"
    """`module:function` below `metagenrl.baselines` that makes the agent of a job; imported by the
    process that trains it."""
    single_transitions: bool = False
    """Can learn from single transitions as well as from segments."""
    reads: tuple[str, ...] = ()
    """Sections of `BaselineOptions` that it reads."""
    meta_learner: bool = False
    """Has two phases: `baseline --phase train` in several environments, then `test`."""
    own_options: bool = False
    """Its meta-training takes options of its own: see `commands.table.META_LEARNERS`."""
    needs: Library | None = None
    """Which it alone imports."""

    @property
    def on_policy(self) -> bool:
        """Whether it learns from rollouts of `rollout_steps`."""
        return "on_policy" in self.reads

    @property
    def fills_a_buffer(self) -> bool:
        """Whether its agents learn once their buffer holds `learning_starts` steps."""
        return not (self.on_policy or self.meta_learner)


BASELINES: dict[Algorithm, Baseline] = {
    "td3": Baseline(single_transitions=True),
    "ddpg": Baseline(single_transitions=True),
    "sac": Baseline("sac:SacAgent", single_transitions=True, reads=("sac",)),
    "reinforce-off": Baseline(),
    "reinforce-critic": Baseline(reads=("reinforce_critic",)),
    "reinforce": Baseline("reinforce:make_agent", reads=("on_policy",)),
    "ppo": Baseline("rllib.ppo:PpoAgent", reads=("on_policy", "ppo"), needs=RLLIB),
    "rl2": Baseline(
        "rllib.rl2:rl2_agent", reads=("on_policy", "ppo", "rl2"), meta_learner=True, needs=RLLIB
    ),
    "epg": Baseline("epg.meta_test:epg_agent", meta_learner=True, own_options=True),
}


def require_installed(field: str, algo: Algorithm) -> None:
    """Raise `UsageError`, with what to install, where the algorithm lacks something."""
    library = BASELINES[algo].needs
    if library is not None and library.missing:
        raise UsageError(
            f"{field}: got {algo!r} ({', '.join(library.missing)} not installed), allowed: "
            f"after `pip install '{library.requirement}'`"
        )
