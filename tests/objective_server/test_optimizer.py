from __future__ import annotations

import numpy as np
import pytest
import torch

from metagenrl.objective_server.adam import Adam, CosineDecay


def test_first_two_steps_by_hand() -> None:
    # t=1: m=0.1g, v=0.001g^2, both bias-corrected to g and g^2: a step of lr * sign(g).
    alpha = np.array([1.0, -1.0], np.float32)
    alpha, adam = Adam.start(2, 0.1).update(alpha, np.array([4.0, -2.0], np.float32))
    np.testing.assert_allclose(alpha, [0.9, -0.9], rtol=1e-6)
    # t=2 with g = (-4, 0): m = 0.09 * 4 - 0.1 * 4 = -0.04 and 0.09 * -2; m^ = m / 0.19;
    # v = 0.001999 * 16 and 0.000999 * 4; v^ = v / 0.001999.
    alpha, adam = adam.update(alpha, np.array([-4.0, 0.0], np.float32))
    first = 0.9 - 0.1 * (-0.04 / 0.19) / 4.0
    second = -0.9 - 0.1 * (-0.18 / 0.19) / (2.0 * np.sqrt(0.999 / 1.999))
    np.testing.assert_allclose(alpha, [first, second], rtol=1e-6)
    assert adam.step == 2


def test_equals_torch_over_fifty_steps() -> None:
    rng = np.random.default_rng(0)
    alpha = rng.normal(size=200).astype(np.float32)
    reference = torch.nn.Parameter(torch.from_numpy(alpha.copy()))
    optimizer, adam = torch.optim.Adam([reference], lr=1e-3), Adam.start(200, 1e-3)
    for scale in np.logspace(-6, 2, 50):
        g = (scale * rng.normal(size=200)).astype(np.float32)
        reference.grad = torch.from_numpy(g.copy())
        optimizer.step()
        alpha, adam = adam.update(alpha, g)
        assert alpha.dtype == np.float32
    np.testing.assert_allclose(alpha, reference.detach().numpy(), rtol=0, atol=5e-7)
    moments = optimizer.state[reference]
    np.testing.assert_allclose(adam.m, moments["exp_avg"].numpy(), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(adam.v, moments["exp_avg_sq"].numpy(), rtol=1e-5)


def test_an_update_leaves_its_inputs_alone() -> None:
    adam, alpha = Adam.start(2, 0.1), np.ones(2, np.float32)
    adam.update(alpha, np.ones(2, np.float32))
    assert adam.step == 0
    assert not adam.m.any()
    assert not adam.v.any()
    assert (alpha == 1).all()


def test_restored_state_has_the_same_future() -> None:
    rng = np.random.default_rng(1)
    g = rng.normal(size=(6, 5)).astype(np.float32)
    alpha, adam = np.zeros(5, np.float32), Adam.start(5, 0.01)
    for row in g[:3]:
        alpha, adam = adam.update(alpha, row)
    copy, other = alpha.copy(), Adam.from_state(adam.state_dict(), 0.01)
    for row in g[3:]:
        alpha, adam = adam.update(alpha, row)
        copy, other = other.update(copy, row)
    assert alpha.tobytes() == copy.tobytes()
    assert other.step == 6


def test_bad_values_are_named() -> None:
    with pytest.raises(ValueError, match=r"learning_rate: got 0"):
        Adam.start(2, 0)
    with pytest.raises(ValueError, match=r"gradient: got \(3,\), allowed: \(2,\)"):
        Adam.start(2, 0.1).update(np.zeros(2, np.float32), np.zeros(3, np.float32))


def test_cosine_decay_falls_from_the_initial_rate_to_zero():
    decay = CosineDecay(0.1, 4)
    assert decay.at(0) == pytest.approx(0.1)
    assert decay.at(1) == pytest.approx(0.1 * (1 + 2**-0.5) / 2)
    assert decay.at(2) == pytest.approx(0.05)
    assert decay.at(4) == decay.at(9) == pytest.approx(0.0)


def test_adam_takes_the_decayed_rate_of_its_step():
    gradient = np.array([2.0], np.float32)
    adam, alpha = Adam.start(1, CosineDecay(0.1, 2)), np.zeros(1, np.float32)
    moved = []
    for _ in range(3):
        new, adam = adam.update(alpha, gradient)
        moved.append(float(alpha[0] - new[0]))
        alpha = new
    assert moved == pytest.approx([0.1, 0.05, 0.0], abs=1e-6)


@pytest.mark.parametrize(("initial", "updates"), [(0.0, 4), (0.1, 0)])
def test_cosine_decay_refuses(initial, updates):
    with pytest.raises(ValueError, match="allowed"):
        CosineDecay(initial, updates)
