"""L_alpha with hand-written derivatives: value, d/d pi, and the mixed second derivative of Eq. 6.

For k = 1 the meta-gradient is g = d/d alpha <dL/d pi, u> with a direction u (section 6). That is
the adjoint of L's tangent along u, so no graph of a graph is ever built: one forward pass, one
first-order adjoint (for dL/d pi), one tangent and one adjoint through value and tangent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from metagenrl.learner.networks import kernels, mlp
from metagenrl.learner.networks.layers import previous
from metagenrl.learner.networks.mlp import Tape, Views
from metagenrl.learner.objective import feature_net
from metagenrl.learner.objective.features import input_features
from metagenrl.learner.objective.inputs import Evaluated, Features, ObjectiveInputs, inputs_on
from metagenrl.learner.objective.net import ObjectiveNet, action_rows


@dataclass(frozen=True)
class Parts:
    """Alpha cut into its parts; policy-side networks carry the ensemble's leading dimension."""

    action: Views
    features: Views
    observation: Views
    lstms: list[tuple[bool, Views]]
    head: Views

    @staticmethod
    def of(net: ObjectiveNet, flat: Tensor) -> Parts:
        """Views into `flat [P]`."""
        views = net.layout.views(flat)
        ensemble = {k: v.unsqueeze(0) for k, v in views.items()}
        return Parts(
            net.part(ensemble, "action"),
            net.part(views, "features"),
            net.part(views, "observation"),
            [(reverse, net.part(views, name)) for name, reverse in net.lstm_names],
            net.part(ensemble, "head"),
        )


@dataclass
class PartsTape:
    """One evaluation of L_alpha, part by part, and what its derivatives need of it."""

    inputs: ObjectiveInputs
    action_tape: Tape
    embedded: Tensor  # [B, T, H], mean over action dimensions
    constant: Tensor  # [B, T, C]
    feature_tape: list[Tensor]
    observation_tape: list[Tensor]
    head_tape: Tape
    slope: Tensor  # [B, T], d l / d x on valid steps
    bounded: Tensor  # [B, T], tanh(x / eta)
    loss: Tensor  # [B, T], l_t, 0 on padding
    states: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)  # h, c, gates


class ObjectiveTape(Protocol):
    """One evaluation of L_alpha, in the form that the objective who made it reads."""

    @property
    def loss(self) -> Tensor:
        """l_t, 0 on padding: `[B, T]`, or `[K, B, T]` of K agents."""
        ...


class LearnedObjective:
    """L_alpha for one alpha, part by part; in-place updates of alpha show.

    Who needs it as fast as it gets on a processor takes `ops.learned_objective`.
    """

    def __init__(
        self, net: ObjectiveNet, alpha: Tensor, features: Features = input_features
    ) -> None:
        """`features` makes the inputs `[B, T, F]` of what the objective sees."""
        self.net = net
        self.alpha = alpha
        self._features = features
        self.parts = Parts.of(net, alpha)
        self._gradient = torch.zeros_like(alpha)
        self._grads = Parts.of(net, self._gradient)

    def inputs(self, evaluated: Evaluated) -> ObjectiveInputs:
        """The objective's inputs from an evaluated minibatch."""
        return inputs_on(self.net.config, evaluated, self._features)

    def forward(self, pi: Tensor, inputs: ObjectiveInputs) -> ObjectiveTape:
        """Evaluate l_t for `pi [B, T, A]`; same values as `net.apply`."""
        net, parts = self.net, self.parts
        b, t, a = pi.shape
        pairs = action_rows(inputs, inputs.actions, pi, inputs.direction)
        out, action_tape = mlp.forward(net.action, parts.action, pairs)
        embedded = out.view(b, t, a, -1).mean(2) if a > 1 else out.view(b, t, -1)
        constant, feature_tape, observation_tape = self._constants(inputs)
        states = []
        for reverse, p in parts.lstms:
            x = torch.addmm(p["b"], constant.view(b * t, -1), p["w_constant"])
            x.addmm_(embedded.view(b * t, -1), p["w_action"])
            states.append(kernels.lstm(x.view(b, t, -1), p["w_recurrent"], inputs.mask, reverse))
        h = states[0][0] if len(states) == 1 else torch.cat([s[0] for s in states], -1)
        x, head_tape = mlp.forward(net.head, parts.head, h.view(1, b * t, -1))
        bounded = torch.tanh(x.view(b, t) / net.config.eta)
        slope = (1 - bounded.square()) * inputs.mask
        loss = net.config.eta * bounded * inputs.mask
        return PartsTape(
            inputs, action_tape, embedded, constant, feature_tape, observation_tape,
            head_tape, slope, bounded, loss, states,
        )  # fmt: skip

    def _constants(self, inputs: ObjectiveInputs) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        b, t = inputs.mask.shape
        rows = inputs.features.reshape(b * t, -1)
        constant, tape = feature_net.apply(self.net.features, self.parts.features, rows)
        if inputs.observations is None:
            return constant.view(b, t, -1), tape, []
        size = inputs.observations.shape[-1]
        single = inputs.observations.reshape(b * t * size, 1)
        encoded, observed = feature_net.apply(self.net.observation, self.parts.observation, single)
        constant = torch.cat([constant, encoded.view(b * t, size, -1).mean(1)], -1)
        return constant.view(b, t, -1), tape, observed

    def action_gradient(self, tape: Any) -> Tensor:
        """dL/d pi `[B, T, A]`, where L is the sum of l_t over valid steps.

        `tape` is what its own `forward` left.
        """
        assert isinstance(tape, PartsTape)
        b, t, a = tape.inputs.actions.shape
        rows = tape.slope.view(1, b * t, 1)
        ah = mlp.backward(self.net.head, self.parts.head, tape.head_tape, rows, None, True)
        assert ah is not None
        embedded = torch.zeros_like(tape.embedded).view(b * t, -1)
        pieces = ah.view(b, t, -1).split(self.net.config.lstm_units, -1)
        for (reverse, p), (_, c, gates), part in zip(
            self.parts.lstms, tape.states, pieces, strict=True
        ):
            ax = kernels.lstm_backward(
                part.contiguous(), p["w_recurrent"], tape.inputs.mask, gates, c, reverse
            )
            embedded.addmm_(ax.view(b * t, -1), p["w_action"].mT)
        dy = self._spread(embedded, a)
        pair = mlp.backward(self.net.action, self.parts.action, tape.action_tape, dy, None, True)
        assert pair is not None
        return tape.inputs.reflect(pair.view(b, t, a, -1)[..., 1])

    @staticmethod
    def _spread(rows: Tensor, actions: int) -> Tensor:
        """Adjoint of the mean over action dimensions: `[N, H] -> [1, N * A, H]`."""
        if actions == 1:
            return rows.unsqueeze(0)
        n, h = rows.shape
        return (rows / actions).unsqueeze(1).expand(n, actions, h).reshape(1, n * actions, h)

    def alpha_gradient(self, tape: Any, u: Tensor) -> Tensor:
        """d/d alpha <dL/d pi, u> for a fixed `u [B, T, A]`: flat `[P]` (section 6)."""
        return self._second(tape, u, of_policy=False)[0]

    def second_derivatives(self, tape: Any, u: Tensor) -> tuple[Tensor, Tensor]:
        """d/d alpha and d/d pi of <dL/d pi, u>: flat `[P]` and `[B, T, A]`."""
        gradient, pairs = self._second(tape, u, of_policy=True)
        assert pairs is not None
        return gradient, tape.inputs.reflect(pairs.view(*u.shape, -1)[..., 1])

    def _second(self, tape: Any, u: Tensor, of_policy: bool) -> tuple[Tensor, Tensor | None]:
        """`alpha_gradient` and, where it is wanted, the adjoint of the action network's rows."""
        assert isinstance(tape, PartsTape)
        net, parts, grads = self.net, self.parts, self._grads
        b, t, a = u.shape
        nothing = torch.zeros_like(u)
        direction = None if tape.inputs.direction is None else nothing
        pairs = action_rows(tape.inputs, nothing, u, direction)
        out, action_tangent = mlp.input_tangent(net.action, parts.action, tape.action_tape, pairs)
        embedded = (out.view(b, t, a, -1).mean(2) if a > 1 else out.view(b, t, -1)).view(b * t, -1)
        tangents = []
        for (reverse, p), (_, c, gates) in zip(parts.lstms, tape.states, strict=True):
            xd = torch.mm(embedded, p["w_action"]).view(b, t, -1)
            tangents.append(
                kernels.lstm_tangent(xd, p["w_recurrent"], tape.inputs.mask, gates, c, reverse)
            )
        hd = tangents[0][0] if len(tangents) == 1 else torch.cat([s[0] for s in tangents], -1)
        xd, head_tangent = mlp.input_tangent(
            net.head, parts.head, tape.head_tape, hd.view(1, b * t, -1)
        )
        ayd = tape.slope.view(1, b * t, 1)
        ay = (tape.slope * tape.bounded * xd.view(b, t) * (-2 / net.config.eta)).view(1, b * t, 1)
        adjoints = mlp.dual_backward(
            net.head, parts.head, tape.head_tape, head_tangent, ay, ayd, grads.head, True
        )
        assert adjoints is not None
        of_rows = self._recurrent_gradient(
            tape, tangents, adjoints, embedded, action_tangent, grads, of_policy
        )
        return self._gradient.clone(), of_rows

    def _recurrent_gradient(
        self,
        tape: PartsTape,
        tangents: list[tuple[Tensor, Tensor, Tensor]],
        adjoints: tuple[Tensor, Tensor],
        embedded_tangent: Tensor,
        action_tangent: mlp.TangentTape,
        grads: Parts,
        want_pairs: bool,
    ) -> Tensor | None:
        """The adjoint from the head's input down to the embeddings, through every LSTM.

        Returns that of the action network's rows where `want_pairs`.
        """
        b, t, a = tape.inputs.actions.shape
        n, units = b * t, self.net.config.lstm_units
        embedded = torch.zeros_like(tape.embedded).view(n, -1)
        embedded_d, constant = torch.zeros_like(embedded), torch.zeros_like(tape.constant)
        ah, ahd = (x.view(b, t, -1).split(units, -1) for x in adjoints)
        for i, ((reverse, p), (_, g)) in enumerate(zip(self.parts.lstms, grads.lstms, strict=True)):
            (h, c, gates), (hd, cd, zd) = tape.states[i], tangents[i]
            ax, axd = (
                x.view(n, -1)
                for x in kernels.lstm_dual_backward(
                    ah[i].contiguous(), ahd[i].contiguous(), p["w_recurrent"],
                    tape.inputs.mask, gates, c, zd, cd, reverse,
                )
            )  # fmt: skip
            torch.sum(ax, 0, out=g["b"])
            torch.mm(tape.constant.view(n, -1).mT, ax, out=g["w_constant"])
            torch.mm(tape.embedded.view(n, -1).mT, ax, out=g["w_action"])
            g["w_action"].addmm_(embedded_tangent.mT, axd)
            torch.mm(previous(h, reverse).view(n, -1).mT, ax, out=g["w_recurrent"])
            g["w_recurrent"].addmm_(previous(hd, reverse).view(n, -1).mT, axd)
            embedded.addmm_(ax, p["w_action"].mT)
            embedded_d.addmm_(axd, p["w_action"].mT)
            constant.view(n, -1).addmm_(ax, p["w_constant"].mT)
        adjoint = mlp.dual_backward(
            self.net.action, self.parts.action, tape.action_tape, action_tangent,
            self._spread(embedded, a), self._spread(embedded_d, a), grads.action, want_pairs,
        )  # fmt: skip
        self._constants_gradient(tape, constant.view(n, -1), grads)
        return None if adjoint is None else adjoint[0]

    def _constants_gradient(self, tape: PartsTape, dy: Tensor, grads: Parts) -> None:
        width = self.net.config.input_features
        part = dy[:, :width]
        feature_net.backward(
            self.net.features, self.parts.features, tape.feature_tape, part, grads.features
        )
        if tape.inputs.observations is not None:
            size = tape.inputs.observations.shape[-1]
            spread = (dy[:, width:] / size).unsqueeze(1).expand(-1, size, -1)
            feature_net.backward(
                self.net.observation, self.parts.observation, tape.observation_tape,
                spread.reshape(-1, width), grads.observation,
            )  # fmt: skip
