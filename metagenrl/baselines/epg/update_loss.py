"""One update of an EPG agent's policy along its evolved loss, with PPO mixed in (Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from metagenrl.baselines.epg.experience import Experience, Window
from metagenrl.baselines.epg.loss_net import LossNet
from metagenrl.baselines.epg.networks import EpgNetworks, Gaussian
from metagenrl.baselines.epg.ppo_loss import advantages, ppo_loss, standardized
from metagenrl.learner.networks.spec import Views
from metagenrl.runs.config.epg_config import EpgConfig


class UpdateLoss:
    """(1 - p) L_phi + p L_PPO of an update's minibatches; all but theta is constant in it."""

    def __init__(
        self,
        config: EpgConfig,
        nets: EpgNetworks,
        phi: Views,
        ppo_weight: float,
        experience: Experience,
        theta: Views,
    ) -> None:
        """Take in the window; `theta` are the parameters that acted in it, before the update."""
        self._config, self._nets, self._phi = config, nets, phi
        self._net = LossNet(config.features)
        window = experience.window()
        self._observations = torch.from_numpy(experience.normalized(window.observations))  # [N, O]
        self._rows = experience.features(window, config.pad_observations, config.pad_actions)
        self.steps = min(config.update_every, len(self._rows))
        self._ppo_weight = ppo_weight
        self._targets = None
        if ppo_weight > 0:
            self._targets = _targets(config, nets, theta, experience, window.last(self.steps))

    def __call__(self, theta: Views, minibatch: Tensor) -> Tensor:
        """The loss on a minibatch: `[M]` indices into the update's steps `-> []`."""
        policy = self._nets.policy(theta, self._observations)
        loss = self._evolved(theta, policy, minibatch)
        if self._targets is None:
            return loss
        p = self._ppo_weight
        last = Gaussian(policy.mean[-self.steps :], policy.log_std[-self.steps :])
        return (1 - p) * loss + p * self._ppo(theta, last, self._targets, minibatch)

    def _evolved(self, theta: Views, policy: Gaussian, minibatch: Tensor) -> Tensor:
        missing = self._config.pad_actions - self._nets.action_size
        memory = self._nets.memory(theta).expand(len(self._rows), -1)
        parts = [functional.pad(part, (0, missing)) for part in (policy.mean, policy.log_std)]
        rows = torch.cat([self._rows, *parts, memory], 1)  # [N, F]
        # The convolution always sees a full buffer: zeros stand where there is no experience yet.
        filled = functional.pad(rows, (0, 0, self._config.buffer_size - len(rows), 0))
        context = self._net.context(self._phi, filled)
        return self._net.loss(self._phi, rows[-self.steps :][minibatch], context)

    def _ppo(self, theta: Views, policy: Gaussian, y: Targets, minibatch: Tensor) -> Tensor:
        now = Gaussian(policy.mean[minibatch], policy.log_std[minibatch])
        before = Gaussian(y.policy.mean[minibatch], y.policy.log_std[minibatch])
        actions = y.actions[minibatch]
        observations = self._observations[-self.steps :][minibatch]
        return ppo_loss(
            now.log_probability(actions),
            before.log_probability(actions),
            y.advantages[minibatch],
            self._nets.value(theta, observations),
            y.returns[minibatch],
            before.divergence(now),
            self._config.clip,
            self._config.kl_weight,
        )


@dataclass(frozen=True)
class Targets:
    """The values that PPO holds fixed during an update."""

    policy: Gaussian  # [M, A], before the update
    actions: Tensor  # [M, A]
    advantages: Tensor  # [M], standardised
    returns: Tensor  # [M], what the value function is drawn to


@torch.no_grad()
def _targets(
    config: EpgConfig, nets: EpgNetworks, theta: Views, experience: Experience, window: Window
) -> Targets:
    s = torch.from_numpy(experience.normalized(window.observations))
    after = torch.from_numpy(experience.normalized(window.next_observations))
    v, v_next = nets.value(theta, s), nets.value(theta, after)
    rewards, terminated, ended = map(
        torch.from_numpy, (window.rewards, window.terminated, window.ended)
    )
    gae = advantages(rewards, v, v_next, terminated, ended, config.gamma, config.gae_lambda)
    actions = torch.from_numpy(window.actions)
    return Targets(nets.policy(theta, s).detach(), actions, standardized(gae), gae + v)
