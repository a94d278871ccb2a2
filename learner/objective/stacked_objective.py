"""L_alpha for K agents at once, with each agent's own gradient of the alpha that they share.

The same values and hand-written derivatives as `derivatives.py`, with the agents along a
leading axis. Alpha is one vector, but a gradient is clipped or normalised for each agent before it
is averaged, so every weight's gradient is a batched product that keeps the agents apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metagenrl.learner.networks import kernels, mlp
from metagenrl.learner.networks.layers import previous
from metagenrl.learner.networks.mlp import Tape
from metagenrl.learner.objective import feature_net
from metagenrl.learner.objective.inputs import ObjectiveInputs
from metagenrl.learner.objective.net import ObjectiveNet, action_rows

Recurrent = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class StackedTape:
    """One evaluation of L_alpha on every agent's minibatch; `N = B * T` rows."""

    inputs: ObjectiveInputs
    action_tape: Tape
    embedded: Tensor  # [K, N, H], mean over action dimensions
    constant: Tensor  # [K, N, C]
    feature_tape: list[Tensor]
    observation_tape: list[Tensor]
    head_tape: Tape
    slope: Tensor  # [K, N, 1], d l / d x on valid steps
    bounded: Tensor  # [K, N, 1], tanh(x / eta)
    loss: Tensor  # [K, B, T], l_t, 0 on padding
    states: list[Recurrent]  # h, c, gates [K * B, T, .] of each LSTM


class StackedObjective:
    """One alpha `[P]`, read through views, for `agents` of the same sizes.

    Arguments and results are those of `LearnedObjective` with a leading axis K.
    """

    def __init__(self, net: ObjectiveNet, alpha: Tensor, agents: int) -> None:
        self.net, self.alpha, self.agents = net, alpha, agents
        self.gradient = alpha.new_zeros(agents, net.layout.size)  # [K, P], of `alpha_gradient`
        shared = net.layout.views(alpha)
        each = net.layout.views(alpha.expand(agents, -1))
        grads = net.layout.views(self.gradient)
        self._action, self._head = net.part(each, "action"), net.part(each, "head")
        self._features = net.part(shared, "features")
        self._observation = net.part(shared, "observation")
        self._lstms = [(reverse, net.part(shared, name)) for name, reverse in net.lstm_names]
        self._grads = {
            name: net.part(grads, name)
            for name in ("action", "features", "observation", "head", "lstm", "lstm_forward")
        }

    def forward(self, pi: Tensor, inputs: ObjectiveInputs) -> StackedTape:
        """Evaluate l_t for `pi [K, B, T, A]`."""
        net = self.net
        k, b, t, a = pi.shape
        rows = action_rows(inputs, inputs.actions, pi, inputs.direction).view(k, b * t * a, -1)
        out, action_tape = mlp.forward(net.action, self._action, rows)
        embedded = out.reshape(k, b * t, a, -1).mean(2)
        constant, feature_tape, observation_tape = self._constants(inputs)
        mask = inputs.mask.reshape(k * b, t)
        states = []
        for reverse, p in self._lstms:
            x = torch.addmm(p["b"], constant.flatten(0, 1), p["w_constant"])
            x = torch.addmm(x, embedded.flatten(0, 1), p["w_action"]).view(k * b, t, -1)
            states.append(kernels.lstm(x, p["w_recurrent"], mask, reverse))
        h = states[0][0] if len(states) == 1 else torch.cat([s[0] for s in states], -1)
        x, head_tape = mlp.forward(net.head, self._head, h.view(k, b * t, -1))
        bounded = torch.tanh(x / net.config.eta)
        valid = inputs.mask.reshape(k, b * t, 1)
        return StackedTape(
            inputs, action_tape, embedded, constant, feature_tape, observation_tape, head_tape,
            (1 - bounded.square()) * valid, bounded,
            (net.config.eta * bounded * valid).view(k, b, t), states,
        )  # fmt: skip

    def _constants(self, inputs: ObjectiveInputs) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        k, b, t = inputs.mask.shape
        rows = inputs.features.reshape(k * b * t, -1)
        constant, tape = feature_net.apply(self.net.features, self._features, rows)
        constant = constant.view(k, b * t, -1)
        if inputs.observations is None:
            return constant, tape, []
        size = inputs.observations.shape[-1]
        single = inputs.observations.reshape(-1, 1)
        encoded, observed = feature_net.apply(self.net.observation, self._observation, single)
        mean = encoded.view(k, b * t, size, -1).mean(2)
        return torch.cat([constant, mean], -1), tape, observed

    def _pieces(self, x: Tensor, inputs: ObjectiveInputs) -> list[Tensor]:
        """`[K, N, units]` of all LSTMs side by side, as `[K * B, T, units]` of each."""
        k, b, t = inputs.mask.shape
        parts = x.view(k * b, t, -1).split(self.net.config.lstm_units, -1)
        return [part.contiguous() for part in parts]

    def action_gradient(self, tape: StackedTape) -> Tensor:
        """dL/d pi `[K, B, T, A]`, where L is each agent's sum of l_t over valid steps."""
        k, b, t, a = tape.inputs.actions.shape
        ah = mlp.backward(self.net.head, self._head, tape.head_tape, tape.slope, None, True)
        assert ah is not None
        mask = tape.inputs.mask.reshape(k * b, t)
        embedded = torch.zeros_like(tape.embedded).flatten(0, 1)
        for (reverse, p), (_, c, gates), part in zip(
            self._lstms, tape.states, self._pieces(ah, tape.inputs), strict=True
        ):
            ax = kernels.lstm_backward(part, p["w_recurrent"], mask, gates, c, reverse)
            embedded = torch.addmm(embedded, ax.flatten(0, 1), p["w_action"].mT)
        dy = _spread(embedded.view(k, b * t, -1), a)
        pair = mlp.backward(self.net.action, self._action, tape.action_tape, dy, None, True)
        assert pair is not None
        return tape.inputs.reflect(pair.view(k, b, t, a, -1)[..., 1])

    def alpha_gradient(self, tape: StackedTape, u: Tensor) -> Tensor:
        """d/d alpha <dL/d pi, u> of each agent, `u [K, B, T, A]`: `[K, P]` (section 6).

        What is returned is `gradient`, which the next call writes to.
        """
        net = self.net
        k, b, t, a = u.shape
        nothing = torch.zeros_like(u)
        direction = None if tape.inputs.direction is None else nothing
        rows = action_rows(tape.inputs, nothing, u, direction).view(k, b * t * a, -1)
        out, action_tangent = mlp.input_tangent(net.action, self._action, tape.action_tape, rows)
        embedded = out.reshape(k, b * t, a, -1).mean(2)
        mask = tape.inputs.mask.reshape(k * b, t)
        tangents = []
        for (reverse, p), (_, c, gates) in zip(self._lstms, tape.states, strict=True):
            xd = torch.mm(embedded.flatten(0, 1), p["w_action"]).view(k * b, t, -1)
            tangents.append(kernels.lstm_tangent(xd, p["w_recurrent"], mask, gates, c, reverse))
        hd = tangents[0][0] if len(tangents) == 1 else torch.cat([s[0] for s in tangents], -1)
        hd = hd.view(k, b * t, -1)
        xd, head_tangent = mlp.input_tangent(net.head, self._head, tape.head_tape, hd)
        ay = tape.slope * tape.bounded * xd * (-2 / net.config.eta)
        adjoints = mlp.dual_backward(
            net.head, self._head, tape.head_tape, head_tangent, ay, tape.slope,
            self._grads["head"], True,
        )  # fmt: skip
        assert adjoints is not None
        below, below_d, constant = self._recurrent_gradient(tape, tangents, adjoints, embedded)
        mlp.dual_backward(
            net.action, self._action, tape.action_tape, action_tangent,
            _spread(below, a), _spread(below_d, a), self._grads["action"],
        )  # fmt: skip
        self._constants_gradient(tape, constant)
        return self.gradient

    def _recurrent_gradient(
        self,
        tape: StackedTape,
        tangents: list[Recurrent],
        adjoints: tuple[Tensor, Tensor],
        embedded_tangent: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Through every LSTM: adjoints of the embedding, of its tangent and of the constants."""
        k, b, t = tape.inputs.mask.shape
        mask = tape.inputs.mask.reshape(k * b, t)
        ah, ahd = (self._pieces(x, tape.inputs) for x in adjoints)
        below = [torch.zeros_like(x) for x in (tape.embedded, tape.embedded, tape.constant)]
        for i, (reverse, p) in enumerate(self._lstms):
            (h, c, gates), (hd, cd, zd) = tape.states[i], tangents[i]
            adjoint = kernels.lstm_dual_backward(
                ah[i], ahd[i], p["w_recurrent"], mask, gates, c, zd, cd, reverse
            )
            found = (*adjoint, previous(h, reverse), previous(hd, reverse))
            ax, axd, before, before_d = (x.reshape(k, b * t, -1) for x in found)
            g = self._grads[self.net.lstm_names[i][0]]
            g["b"].copy_(ax.sum(1))
            g["w_constant"].copy_(tape.constant.mT @ ax)
            g["w_action"].copy_(tape.embedded.mT @ ax + embedded_tangent.mT @ axd)
            g["w_recurrent"].copy_(before.mT @ ax + before_d.mT @ axd)
            below[0] = below[0] + ax @ p["w_action"].mT
            below[1] = below[1] + axd @ p["w_action"].mT
            below[2] = below[2] + ax @ p["w_constant"].mT
        return below[0], below[1], below[2]

    def _constants_gradient(self, tape: StackedTape, dy: Tensor) -> None:
        net, width = self.net, self.net.config.input_features
        feature_net.backward_each(
            net.features, self._features, tape.feature_tape, dy[..., :width],
            self._grads["features"],
        )  # fmt: skip
        if tape.inputs.observations is not None:
            size = tape.inputs.observations.shape[-1]
            spread = (dy[..., width:] / size).repeat_interleave(size, 1)
            feature_net.backward_each(
                net.observation, self._observation, tape.observation_tape, spread,
                self._grads["observation"],
            )  # fmt: skip


def _spread(rows: Tensor, actions: int) -> Tensor:
    """Adjoint of the mean over action dimensions: `[K, N, H] -> [K, N * A, H]`."""
    return rows if actions == 1 else (rows / actions).repeat_interleave(actions, 1)
