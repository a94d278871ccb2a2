"""What of the policies' updates of small networks is no single C call: put together in steps.

Several inner steps, hand-made objectives, and variants of the learned one that the library does
not have whole, one agent after the other; the steps themselves run in C where there is a form. This
is a part of `Native`, no third backend: it neither acts nor updates critics. The reference with one
agent in a block would do as well, to rounding, but its general steps cost more on small networks:
by CPU time 1.5 times these for a fixed objective at `small`, on an AMD EPYC with AVX-512.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from metagenrl.agents.backend.actor_critic import ActorCritic
from metagenrl.agents.backend.interface import (
    NetworksState,
    PolicyDraw,
    PolicyStep,
    Setting,
)
from metagenrl.learner.adam import clip_by_norm, scale_to_norm
from metagenrl.learner.measures import measure
from metagenrl.learner.meta_gradient import meta_gradient
from metagenrl.learner.policy_update import Learned, anneal
from metagenrl.learner.resampling import resampled_alone
from metagenrl.learner.types import Array, Batch


class NativeSteps:
    """The networks of small agents by slot, and their policies' updates step by step."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._agent, self._objective, self._meta = setting.agent, setting.objective, setting.meta
        self.agents: dict[int, ActorCritic] = {}  # by slot

    def load(self, slot: int, networks: NetworksState) -> None:
        if slot not in self.agents:
            self.agents[slot] = ActorCritic(self._agent, *self._setting.sizes, torch.Generator())
        self.agents[slot].load_networks_state(networks)

    def networks(self, slot: int) -> NetworksState:
        return self.agents[slot].networks_state()

    def in_steps(self, draws: Mapping[int, PolicyDraw]) -> dict[int, PolicyStep]:
        """Policy updates, targets and gradients of the objective as it is."""
        return {
            slot: replace(self._isolated(slot, draw), values=values)
            for slot, draw in draws.items()
            for values in [self.measured(slot, draw)]  # of the policy before its step
        }

    def measured(self, slot: int, draw: PolicyDraw) -> dict[str, float]:
        """The measures of a slot's policy, where they are asked for."""
        if not draw.measured:
            return {}
        batch = self.batches_of(draw)[0]
        pi = self.agents[slot].evaluate(batch).pi
        return {name: float(value) for name, value in measure(pi, batch).items()}

    def _isolated(self, slot: int, draw: PolicyDraw) -> PolicyStep:
        """An agent's update. One whose policy's gradient is not finite keeps its policy.

        Its step's norm says so, as on the other backends; the others go on.
        """
        try:
            return self._update_policy(self.agents[slot], draw)
        except FloatingPointError:
            nothing = np.empty(0, np.float32)
            return PolicyStep(nothing, math.nan, math.nan, math.nan, math.nan)

    def set_alpha(self, alpha: Array) -> None:
        if isinstance(self._objective, Learned):
            given = torch.from_numpy(np.array(alpha, np.float32))
            self._objective.learned.alpha.copy_(given)

    def batches_of(self, draw: PolicyDraw) -> tuple[Batch, ...]:
        """Minibatches of the inner steps, and one that is held out."""
        return draw.minibatch.segments().split(self._setting.minibatches)

    def _update_policy(self, ac: ActorCritic, draw: PolicyDraw) -> PolicyStep:
        """Policy update and meta-gradient on the same minibatches; both start from phi."""
        batches, p = self.batches_of(draw), draw.objective_weight
        evaluation = ac.evaluate(batches[0])
        if draw.noise is not None:
            batches = resampled_alone(ac.nets, ac.phi_views, batches, draw.noise, evaluation.pi)
            evaluation.batch = batches[0]
        value = self._objective(evaluation)
        valid = evaluation.batch.mask.sum().clamp_(min=1)
        loss = float(value.loss.sum() / valid)
        if self._meta is None:
            policy_norm = ac.update_policy(evaluation, anneal(p, value, evaluation))
            ac.update_targets()
            return PolicyStep(np.empty(0, np.float32), 0.0, loss, policy_norm, float("nan"))
        evaluation.policy_gradient(value.action_gradient, ac.phi_gradient_views)
        assert isinstance(self._objective, Learned)
        g, j = meta_gradient(
            self._meta, self._objective, value, evaluation, ac.phi, ac.phi_gradient, batches[1:]
        )  # fmt: skip
        scale = scale_to_norm if self._meta.gradient_scaling == "normalize" else clip_by_norm
        norm = scale(g, self._meta.gradient_clip)
        if p < 1 or self._agent.action_penalty:
            policy_norm = ac.update_policy(evaluation, anneal(p, value, evaluation))
        else:  # the gradient that the inner step took is the policy's, up to the mean
            ac.phi_gradient.div_(valid)
            policy_norm = ac.apply_policy_gradient()
        ac.update_targets()
        return PolicyStep(g.numpy(), norm, loss, policy_norm, float(j))
