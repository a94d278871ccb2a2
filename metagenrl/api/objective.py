"""The learned objective as a loss for any torch agent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from metagenrl.api.evaluation import Critic, OnBatch, Policy
from metagenrl.base.checks import (
    finite_at_least_0,
    require,
    seed_range,
)
from metagenrl.base.paths import user_path
from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.learner.objective.net import ObjectiveNet, first_alpha
from metagenrl.learner.ops import learned_objective
from metagenrl.learner.resampling import shown
from metagenrl.learner.types import Batch
from metagenrl.objective_server.snapshots.find import find_snapshot
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot
from metagenrl.objective_server.snapshots.version import Version
from metagenrl.runs.config.epg import is_epg
from metagenrl.runs.config.yaml import build
from metagenrl.runs.kinds import no_objective

ACTION_PENALTY = 0.05
"""Weight of the action penalty in the presets that small populations are trained with."""
FREE_RANGE = 1.5  # of the pre-activation: actions up to tanh(1.5) = 0.905 cost nothing
BOUND = 1 - 1e-6  # float32's tanh rounds to 1 soon after


@dataclass(frozen=True, eq=False)
class Objective:
    """L_alpha with frozen parameters, which trains any policy that a torch critic judges.

    `policy(s [..., O]) -> [..., A]` gives actions in [-1, 1] and `critic(s, a) -> [...]` (or
    `[..., 1]`) their value; modules and functions both do. The minibatch is a `metagenrl.Batch` of
    trajectory segments, which `metagenrl.ReplayBuffer` samples. Where `config.resample_noise` is
    not 0, the objective is shown actions around the policy in the place of the batch's, which
    torch's global generator draws.

    >>> import torch, metagenrl
    >>> objective = metagenrl.random_objective(seed=0)
    >>> layer = torch.nn.Linear(3, 2)
    >>> policy = lambda s: layer(s).tanh()
    >>> critic = lambda s, a: s.sum(-1) - a.square().sum(-1)
    >>> batch = metagenrl.Batch(
    ...     observations=torch.randn(4, 6, 3),  # [B, T + 1, O]
    ...     actions=torch.rand(4, 5, 2) * 2 - 1,  # [B, T, A]
    ...     rewards=torch.randn(4, 5),  # [B, T]
    ...     terminated=torch.zeros(4, 5),
    ...     mask=torch.ones(4, 5),
    ... )
    >>> objective.loss(batch, policy, critic).backward()
    >>> layer.weight.grad.shape
    torch.Size([2, 3])
    >>> objective.action_gradient(batch, policy, critic).shape
    torch.Size([4, 5, 2])
    """

    config: ObjectiveConfig
    alpha: Tensor  # [P_alpha]
    name: str = "objective"
    version: int = 0
    environments: tuple[str, ...] = ()
    """The environments that the objective was meta-trained in."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a `config` or an `alpha` of another kind or size."""
        _check_config(self.config)
        size = ObjectiveNet(self.config).layout.size
        found = tuple(self.alpha.shape) if isinstance(self.alpha, Tensor) else self.alpha
        require(found == (size,), "alpha", found, f"a tensor of shape ({size},)")

    def loss(
        self, batch: Batch, policy: Policy, critic: Critic, action_penalty: float = ACTION_PENALTY
    ) -> Tensor:
        """Mean of l_t over the minibatch's valid steps: a scalar to call `backward` on.

        Its first derivative reaches the policy's parameters through pi(s_t) alone; rewards, values
        and taken actions are constants (Eq. 7), so the critic gets no gradient. For a second one
        autograd raises `RuntimeError`. `action_penalty` adds the cost of saturated actions that the
        objective was meta-trained with (0 in the paper). Raises `ValueError` for what is no `Batch`
        of tensors, for a wrong shape, for values that are not finite or not in their field's range,
        and for a penalty below 0.
        """
        finite_at_least_0("action_penalty", action_penalty)
        evaluated = OnBatch(batch, policy, critic)
        steps, gradient = self._evaluate(evaluated)
        mask = evaluated.batch.mask
        count = mask.sum().clamp(min=1)
        pi = evaluated.pi
        loss: Tensor = _Known.apply(pi, steps.sum() / count, gradient / count)
        if not action_penalty:
            return loss
        return loss + action_penalty * _penalty(pi, gradient, mask)

    def action_gradient(self, batch: Batch, policy: Policy, critic: Critic) -> Tensor:
        """d (sum_t l_t) / d pi(s_t): `[B, T, A]`, 0 on padding, without a graph."""
        with torch.no_grad():
            evaluated = OnBatch(batch, policy, critic)
        return self._evaluate(evaluated)[1]

    def step_losses(self, batch: Batch, policy: Policy, critic: Critic) -> Tensor:
        """l_t: `[B, T]`, 0 on padding, without a graph."""
        with torch.no_grad():
            evaluated = OnBatch(batch, policy, critic)
        return self._evaluate(evaluated)[0]

    def _evaluate(self, evaluated: OnBatch) -> tuple[Tensor, Tensor]:
        """l_t `[B, T]` and its derivative by the actions `[B, T, A]`."""
        with torch.no_grad():
            pi, std = evaluated.pi.detach(), self.config.resample_noise
            if std:
                evaluated.batch = shown(evaluated.batch, pi, std * torch.randn_like(pi))
            learned = learned_objective(ObjectiveNet(self.config), self.alpha.to(pi).contiguous())
            tape = learned.forward(pi, learned.inputs(evaluated))
            return tape.loss, learned.action_gradient(tape)


def load_objective(where: str | Path = "pretrained", *, version: Version = "best") -> Objective:
    """The objective of a run's folder, of a snapshot file, or one that this package ships.

    `where`: a path, `"pretrained"` or `"pretrained:NAME"`; `version`: within a run's folder, a
    number, `"best"` (by held-out evaluation) or `"last"`. Raises `UsageError`, one line, where
    there is none, or its file is damaged or of a later release.

    >>> load_objective("no/such/run")
    Traceback (most recent call last):
        ...
    metagenrl.base.checks.UsageError: objective: got 'no/such/run' (no/such/run: no objective \
snapshot 'best', there: no such file or folder), allowed: ...
    """
    path = user_path("objective", where)
    try:
        snapshot = ObjectiveSnapshot.load(find_snapshot(path, version))
        if is_epg(snapshot):
            raise ValueError("an evolved loss of --algo epg, which `metagenrl test` alone takes")
        config = build(ObjectiveConfig, snapshot.config)
        snapshot.expect(config, ObjectiveNet(config).layout.size)
    except (ValueError, OSError) as error:
        raise no_objective(error, path, str(where)) from error
    alpha = torch.from_numpy(snapshot.alpha.copy())
    return Objective(config, alpha, str(where), snapshot.version, snapshot.environments)


def random_objective(seed: int = 0, config: ObjectiveConfig | None = None) -> Objective:
    """The untrained control: alpha as meta-training begins with it.

    `config`: the architecture, for example `load_objective(...).config`; None: the paper's.
    """
    seed_range("seed", seed)
    config = ObjectiveConfig() if config is None else config
    _check_config(config)
    return Objective(config, first_alpha(config, int(seed)), "random")


class _Known(torch.autograd.Function):
    """A value whose derivative by the actions was computed by hand."""

    @staticmethod
    def forward(ctx: Any, pi: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(pi, gradient)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        pi, gradient = ctx.saved_tensors
        return _Once.apply(pi, upstream * gradient), None, None


class _Once(torch.autograd.Function):
    """A derivative by the actions that autograd would else take for a constant."""

    @staticmethod
    def forward(ctx: Any, pi: Tensor, gradient: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> NoReturn:
        raise RuntimeError("loss: got a second derivative, allowed: the first")


def _check_config(config: Any) -> None:
    allowed = "an ObjectiveConfig, such as load_objective(...).config"
    require(isinstance(config, ObjectiveConfig), "config", config, allowed)


def _penalty(pi: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
    """Mean of s * max(|x_t| - 1.5, 0)^2, where pi = tanh(x).

    s is the root mean square of L_alpha's derivative, so that the penalty weighs the same
    whatever scale L_alpha has.
    """
    entries = mask.sum().clamp(min=1) * pi.shape[-1]
    scale = (gradient.square().sum() / entries).sqrt()
    x = torch.atanh(pi.clamp(-BOUND, BOUND))
    excess = x - x.clamp(-FREE_RANGE, FREE_RANGE)
    return scale * (excess.square() * mask.unsqueeze(-1)).sum() / entries
