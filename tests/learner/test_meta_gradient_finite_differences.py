"""Eq. 6 and 8 against central finite differences over alpha, in float64.

J(alpha) is written out here once more: networks from torch.nn.functional, inner steps by first
derivatives only. V is a constant of the objective, so each inner step's values are those at the
alpha that the gradient is taken at.
"""

import pytest
import torch
from torch.nn import functional

from metagenrl.learner.hyperparams import MetaConfig, ObjectiveConfig
from metagenrl.learner.meta_gradient import meta_gradient_by_autograd
from metagenrl.learner.objective.inputs import objective_inputs
from metagenrl.learner.objective.net import apply

STEP = 1e-7
# Few units next to layer norm make derivatives so steep that no step fits; these are smooth.
OBJECTIVE = ObjectiveConfig(lstm_units=8, hidden_units=12, input_features=4)


def _network(p, x):
    for i in range(2):
        x = (x @ p[f"w{i}"][0] + p[f"b{i}"][0]).relu()
        x = functional.layer_norm(x, x.shape[-1:], p[f"gamma{i}"][0], p[f"beta{i}"][0], 1e-5)
    return x @ p["w_out"][0] + p["b_out"][0]


def _policy(problem, phi, s):
    return _network(problem.nets.policy.layout.views(phi), s).tanh()


def _value(problem, phi, s):
    """Q_theta1(s, pi_phi(s))."""
    rows = torch.cat([s, _policy(problem, phi, s)], -1)
    return _network(problem.theta_views, rows).squeeze(-1)


def _inner_step(problem, meta, alpha, phi, batch, inputs):
    """phi - lambda_3 grad_phi sum l_t, or of the mean."""

    def loss(phi):
        pi = _policy(problem, phi, batch.observations[:, :-1])
        total = (apply(problem.net, alpha, pi, inputs) * batch.mask).sum()
        return total / batch.mask.sum() if meta.inner_reduction == "mean" else total

    return phi - meta.inner_step_size * torch.func.grad(loss)(phi)


def _constants(problem, meta):
    """The objective's inputs at each inner step, on the path of the unperturbed alpha."""
    phi, constants = problem.phi, []
    for batch in problem.batches[:-1]:
        v = _value(problem, phi, batch.observations)
        constants.append(objective_inputs(problem.net.config, batch, v[:, :-1], v[:, 1:]))
        phi = _inner_step(problem, meta, problem.alpha, phi, batch, constants[-1])
    return constants


def _values(problem, meta, alphas):
    """J(alpha) for each row of `alphas [N, P]`."""
    constants = _constants(problem, meta)
    mask = torch.cat([x.mask for x in problem.batches])

    def j(alpha):
        phi = problem.phi
        for batch, inputs in zip(problem.batches[:-1], constants, strict=True):
            phi = _inner_step(problem, meta, alpha, phi, batch, inputs)
        q = torch.cat([_value(problem, phi, x.observations[:, :-1]) for x in problem.batches])
        return (q * mask).sum() / mask.sum()

    return torch.func.vmap(j)(alphas)


def _relative_error(problem, meta, coordinates=40, directions=8):
    """|finite differences - g| / |g| over random coordinates and directions of alpha."""
    g, j = meta_gradient_by_autograd(
        meta, problem.net, problem.nets, problem.alpha, problem.phi, problem.theta_views,
        problem.batches,
    )  # fmt: skip
    size, generator = len(problem.alpha), torch.Generator().manual_seed(1)
    chosen = torch.randperm(size, generator=generator)[:coordinates]
    normal = torch.randn(directions, size, generator=generator, dtype=torch.float64)
    d = torch.cat([torch.eye(size, dtype=torch.float64)[chosen], normal / size**0.5])
    alphas = problem.alpha + STEP * torch.cat([d, -d, torch.zeros_like(d[:1])])
    values = _values(problem, meta, alphas)
    torch.testing.assert_close(values[-1], j, rtol=1e-10, atol=0)
    above, below = values[:-1].view(2, -1)
    want, got = -(above - below) / (2 * STEP), d @ g
    assert got.norm() > 1e-4
    return ((got - want).norm() / want.norm()).item()


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("action_size", [1, 2, 6, 8])
def test_gradient_equals_finite_differences(make_problem, action_size, k):
    problem = make_problem(action_size, minibatches=k + 1, hidden_units=16, objective=OBJECTIVE)
    assert _relative_error(problem, MetaConfig(inner_steps=k)) < 1e-5


@pytest.mark.parametrize(
    "variant",
    [
        {"use_value": False},
        {"use_next_value": False, "use_time": False},
        {"use_observation": True, "bidirectional": True},
    ],
    ids=str,
)
def test_variants_equal_finite_differences(make_problem, variant):
    problem = make_problem(2, 3, seed=4, hidden_units=16, objective=OBJECTIVE, **variant)
    assert _relative_error(problem, MetaConfig(inner_steps=2)) < 1e-5


def test_mean_reduction_equals_finite_differences(make_problem):
    problem = make_problem(2, 3, hidden_units=16, objective=OBJECTIVE)
    meta = MetaConfig(inner_steps=2, inner_step_size=0.02, inner_reduction="mean")
    assert _relative_error(problem, meta) < 1e-5
