"""Adam against torch.optim's, and the two ways to scale a gradient."""

import math

import pytest
import torch

from metagenrl.learner.adam import Adam, clip_by_norm, scale_to_norm


def _gradients(count):
    generator = torch.Generator().manual_seed(0)
    scales = (1e-6, 1.0, 1e3)
    return [
        torch.randn(2, 7, generator=generator, dtype=torch.float64) * scales[i % 3]
        for i in range(count)
    ]


def test_equals_torch_optim():
    ours = torch.linspace(-1, 1, 14, dtype=torch.float64).view(2, 7)
    theirs = ours.clone().requires_grad_()
    adam, reference = Adam(ours, 3e-3), torch.optim.Adam([theirs], 3e-3)
    for gradient in _gradients(20):
        adam.step(gradient)
        theirs.grad = gradient.clone()
        reference.step()
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-12, atol=1e-14)


def test_first_step_by_hand():
    """Corrected moments are g and g^2, so the first step is rate * g / (|g| + epsilon)."""
    parameters = torch.tensor([1.0, 1.0, 1.0])
    Adam(parameters, 0.1, epsilon=1.0).step(torch.tensor([1.0, -3.0, 0.0]))
    assert parameters.tolist() == pytest.approx([1 - 0.1 / 2, 1 + 0.1 * 3 / 4, 1.0])


def test_betas_and_epsilon_equal_torch_optim():
    ours = torch.ones(2, 7, dtype=torch.float64)
    theirs = ours.clone().requires_grad_()
    adam = Adam(ours, 0.1, betas=(0.5, 0.7), epsilon=0.01)
    reference = torch.optim.Adam([theirs], 0.1, betas=(0.5, 0.7), eps=0.01)
    for gradient in _gradients(5):
        adam.step(gradient)
        theirs.grad = gradient.clone()
        reference.step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-12, atol=1e-14)


def test_updates_the_given_tensor_and_leaves_the_gradient():
    storage = torch.zeros(14)
    gradient = torch.ones(7)
    Adam(storage[:7], 0.1).step(gradient)
    assert storage[:7].abs().min() > 0.09
    assert storage[7:].abs().max() == 0
    assert gradient.tolist() == [1.0] * 7


def test_restored_optimiser_goes_on_bit_for_bit():
    gradients = _gradients(6)
    first = torch.ones(2, 7, dtype=torch.float64)
    adam = Adam(first, 1e-2)
    for gradient in gradients[:3]:
        adam.step(gradient)
    state, second = adam.state_dict(), first.clone()
    restored = Adam(second, 1e-2)
    restored.load_state_dict(state)
    for gradient in gradients[3:]:
        adam.step(gradient)
        restored.step(gradient)
    assert torch.equal(first, second)
    assert state["t"] == 3  # the saved state is a copy, not the running optimiser


def test_a_state_of_another_size_is_refused():
    adam, other = Adam(torch.zeros(2, 3), 0.1), Adam(torch.zeros(1, 3), 0.1)
    with pytest.raises(RuntimeError, match="size"):
        adam.load_state_dict(other.state_dict())


def test_clip_scales_down_to_the_bound_only():
    long, short = torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.4])
    assert clip_by_norm(long, 1.0) == pytest.approx(5.0)
    assert long.tolist() == pytest.approx([0.6, 0.8])
    assert clip_by_norm(short, 1.0) == pytest.approx(0.5)
    assert short.tolist() == pytest.approx([0.3, 0.4])


def test_normalize_scales_up_and_down_to_the_bound():
    for factor in (1.0, 1e-12):
        gradient = torch.tensor([3.0, 4.0]) * factor
        assert scale_to_norm(gradient, 2.0) == pytest.approx(5.0 * factor)
        assert gradient.tolist() == pytest.approx([1.2, 1.6])


@pytest.mark.parametrize("scale", [clip_by_norm, scale_to_norm])
def test_zero_stays_zero(scale):
    gradient = torch.zeros(3)
    assert scale(gradient, 1.0) == 0.0
    assert gradient.tolist() == [0.0] * 3


@pytest.mark.parametrize("scale", [clip_by_norm, scale_to_norm])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_is_never_made_to_look_finite(scale, bad):
    """The server rejects it by its values, and the norm that is reported says why."""
    gradient = torch.tensor([1.0, bad])
    assert not math.isfinite(scale(gradient, 1.0))
    assert not gradient.isfinite().all()


def test_normalizing_leaves_a_gradient_whose_norm_overflows():
    """1e30 squared is beyond float32: scaling by 1 / inf would pass it on as zeros."""
    gradient = torch.full((3,), 1e30)
    assert scale_to_norm(gradient, 1.0) == math.inf
    assert torch.equal(gradient, torch.full((3,), 1e30))
