"""The work of an update: every matrix product that its equations need, layer by layer.

Counted for the fast form of Eq. 6 (section 6), in which the second derivative goes through the
objective only, and for one evaluation of policy and critic that policy and objective share.
Activations, layer norms and optimisers are left out: the limit is that of matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.problem import Problem

Layers = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Product:
    """`times` products of `[rows, inputs]` and `[inputs, outputs]`, or of their transposes."""

    rows: int
    inputs: int
    outputs: int
    times: int = 1

    @property
    def flops(self) -> int:
        """A multiplication and an addition each."""
        return 2 * self.rows * self.inputs * self.outputs * self.times


def flops(products: Sequence[Product]) -> int:
    """Floating-point operations in all."""
    return sum(product.flops for product in products)


def through(layers: Layers, rows: int, times: int = 1) -> list[Product]:
    """One product per layer: forwards, or the adjoint of all inputs, or of all weights."""
    return [Product(rows, i, o, times) for i, o in layers]


def backward(layers: Layers, rows: int, times: int = 1) -> list[Product]:
    """Weights' adjoints, and inputs' but for the first layer's."""
    return through(layers, rows, times) + through(layers[1:], rows, times)


class Work:
    """The products of each update for one problem's sizes."""

    def __init__(self, problem: Problem) -> None:
        agent, net = problem.agent, problem.objective
        o, a, h = problem.observation_size, problem.action_size, agent.hidden_units
        hidden = [(h, h)] * (agent.hidden_layers - 1)
        self.policy: Layers = [(o, h), *hidden, (h, a)]
        self.critic: Layers = [(o + a, h), *hidden, (h, 1)]
        self.n, self.b, self.delay = problem.rows, agent.batch_size, agent.policy_delay
        self.pairs = self.n * a  # rows of the action embedding
        e, f, m = net.hidden_units, net.input_features, net.lstm_units
        self.action: Layers = [(2, e), (e, e), (e, e)]
        self.features: Layers = [(4, e), (e, e), (e, f)]
        self.head: Layers = [(m, e), (e, e), (e, 1)]
        self.from_action: Layers = [(e, 4 * m)]
        self.from_constant: Layers = [(f, 4 * m)]
        self.recurrent: Layers = [(m, 4 * m)]

    def critic_update(self) -> list[Product]:
        """Target policy, two target critics, two critics and their gradients."""
        return [
            *through(self.policy, self.n),
            *through(self.critic, self.n, 4),
            *backward(self.critic, self.n, 2),
        ]

    def policy_update(self) -> list[Product]:
        """pi, V_t, the last V_{t+1} of each segment, L_alpha, dL/d pi and grad_phi."""
        return [
            *through(self.policy, self.n + self.b),
            *through(self.critic, self.n + self.b),
            *self._objective(),
            *self._action_gradient(),
            *backward(self.policy, self.n),
        ]

    def objective_gradient(self) -> list[Product]:
        """grad_phi L_alpha as for the policy, J and its gradient at phi', u, and grad_alpha."""
        rows = 2 * self.n  # both minibatches
        return [
            *self.policy_update(),
            *through(self.policy, rows),
            *through(self.critic, rows, 2),  # value and adjoint of the input
            *backward(self.policy, rows),
            *backward(self.policy, self.n),  # u: forward mode takes as many products
            *self._tangent(),
            *self._alpha_gradient(),
        ]

    def policy_and_objective(self) -> list[Product]:
        """The policy's gradient is a part of the objective's."""
        return self.objective_gradient()

    def learn(self) -> list[Product]:
        """`policy_delay` agent-steps; acting, a single row, is left out."""
        return [*self.critic_update() * self.delay, *self.policy_and_objective()]

    def _objective(self) -> list[Product]:
        rows = [self.features, self.from_action, self.from_constant, self.recurrent, self.head]
        constant = [product for layers in rows for product in through(layers, self.n)]
        return through(self.action, self.pairs) + constant

    def _action_gradient(self) -> list[Product]:
        rows = [self.head, self.recurrent, self.from_action]
        adjoint = [product for layers in rows for product in through(layers, self.n)]
        return adjoint + through(self.action, self.pairs)

    def _tangent(self) -> list[Product]:
        """L's derivative along u: only the actions move."""
        return self._action_gradient()

    def _alpha_gradient(self) -> list[Product]:
        """Adjoint of value and tangent together: twice the products where both depend on alpha."""
        return [
            *through(self.head, self.n, 4),  # weights and inputs
            *through(self.recurrent, self.n, 4),
            *through(self.from_action, self.n, 4),
            *through(self.from_constant, self.n, 2),  # no tangent
            *backward(self.action, self.pairs, 2),
            *backward(self.features, self.n),
        ]
