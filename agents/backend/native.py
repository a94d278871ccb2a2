"""Small networks, for all agents at once in C: acting, critics' updates, policies' updates.

What of the method is no single C call is put together in steps (`native_steps.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from metagenrl.agents.backend.actor_critic import ActorCritic, CriticSeen
from metagenrl.agents.backend.interface import (
    CriticDraw,
    CriticStep,
    PolicyDraw,
    PolicyStep,
    Setting,
)
from metagenrl.agents.backend.native_steps import NativeSteps
from metagenrl.learner.native import forms, library, policy_updates, updates
from metagenrl.learner.policy_update import Learned
from metagenrl.learner.types import Array


class Native(NativeSteps):
    """See `Backend`; an agent gets to the bit what it would get alone."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        objective = setting.objective
        self._policies = isinstance(objective, Learned) and forms.policy_updates(
            setting.meta, objective.learned.net.config
        )

    @property
    def name(self) -> str:
        return f"native {library.backend()}"

    @property
    def slots(self) -> int:
        """As many agents as come."""
        return 1 << 30

    @torch.no_grad()
    def act(self, observations: Mapping[int, Array]) -> Mapping[int, Array]:
        agents = [self.agents[slot] for slot in observations]
        s = torch.from_numpy(np.array([*observations.values()], np.float32))
        actions = updates.act(agents[0].nets, [agent.phi for agent in agents], s).numpy()
        return dict(zip(observations, actions, strict=True))

    @torch.no_grad()
    def update_critics(self, draws: Mapping[int, CriticDraw]) -> Mapping[int, CriticStep]:
        agents = [self.agents[slot] for slot in draws]
        seen = updates.update_critics(
            agents[0].nets,
            [agent.critic_state for agent in agents],
            [draw.minibatch.segments().batch() for draw in draws.values()],
            [draw.noise for draw in draws.values()],
            self._agent.gamma,
        )
        return {slot: CriticSeen(*row) for slot, row in zip(draws, seen.tolist(), strict=True)}

    @torch.no_grad()
    def update_policies(
        self, alpha: Array, draws: Mapping[int, PolicyDraw]
    ) -> Mapping[int, PolicyStep]:
        self.set_alpha(alpha)
        if not self._policies:
            return self.in_steps(draws)
        agents = [self.agents[slot] for slot in draws]
        values = [self.measured(slot, draw) for slot, draw in draws.items()]
        found = self._update_whole(agents, [*draws.values()])
        measured = (replace(s, values=own) for s, own in zip(found, values, strict=True))
        return dict(zip(draws, measured, strict=True))

    def _update_whole(
        self, agents: Sequence[ActorCritic], draws: Sequence[PolicyDraw]
    ) -> list[PolicyStep]:
        assert isinstance(self._objective, Learned)
        learned = self._objective.learned
        states = [agent.policy_state for agent in agents]
        found = policy_updates.update_policies(
            agents[0].nets, learned.net, learned.alpha, self._agent, self._meta, states,
            [self.batches_of(draw) for draw in draws], [draw.noise for draw in draws],
            [draw.objective_weight for draw in draws],
        )  # fmt: skip
        return [
            PolicyStep(
                step.gradient.numpy(), step.norm, step.loss, step.policy_norm, step.value_after
            )
            for step in found
        ]
