"""The C kernels against plain torch, and plain torch against autograd."""

import numpy as np
import pytest
import torch

from metagenrl.learner.native import layers as native
from metagenrl.learner.native import library
from metagenrl.learner.networks import layers

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-11}


@pytest.fixture(autouse=True)
def _needs_library():
    if library.backend() == "torch":
        pytest.skip("the C kernels were not built: nothing to compare")


def _normal(*shape, dtype, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).to(dtype)


def _close(a, b, dtype):
    scale = b.abs().max().clamp(min=1.0)
    assert torch.isfinite(a).all()
    assert ((a - b).abs().max() / scale).item() < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("e", [1, 2])
@pytest.mark.parametrize(("h", "relu"), [(32, 16), (64, 64), (64, 32), (350, 350), (7, 3), (1, 0)])
@torch.no_grad()
def test_activation_and_layer_norm(dtype, e, h, relu):
    n = 13
    z, bias, gamma, beta = (
        _normal(*s, dtype=dtype, seed=i) for i, s in enumerate([(e, n, h), (e, h), (e, h), (e, h)])
    )
    want = layers.act_ln(z.clone(), bias, gamma, beta, relu)
    got = native.act_ln(z.clone(), bias, gamma, beta, relu)
    for a, b in zip(got, want, strict=True):
        _close(a, b, dtype)
    z, _, stats = want
    dy, zd, ayd = (_normal(e, n, h, dtype=dtype, seed=i) for i in (5, 6, 7))
    for function, first in ((("act_ln_backward"), (dy,)), ("act_ln_dual_backward", (dy, ayd))):
        sums = [[torch.ones(e, h, dtype=dtype) for _ in range(3)] for _ in range(2)]
        middle = (z, stats) if len(first) == 1 else (z, zd, stats)
        results = [
            getattr(m, function)(*(x.clone() for x in first), *middle, gamma, relu, s)
            for m, s in zip((native, layers), sums, strict=True)
        ]
        pairs = zip(*(r if isinstance(r, tuple) else (r,) for r in results), strict=True)
        for a, b in [*pairs, *zip(*sums, strict=True)]:
            _close(a, b, dtype)
    _close(
        native.act_ln_tangent(zd.clone(), z, stats, gamma, relu),
        layers.act_ln_tangent(zd, z, stats, gamma, relu),
        dtype,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("h", [32, 6])
@torch.no_grad()
def test_lstm(dtype, reverse, h):
    b, t = 21, 9
    mask = (torch.arange(t) < torch.arange(b)[:, None] % (t + 1)).to(dtype)
    x, xd = _normal(b, t, 4 * h, dtype=dtype), _normal(b, t, 4 * h, dtype=dtype, seed=1)
    w = _normal(h, 4 * h, dtype=dtype, seed=2) * 0.3
    want = layers.lstm(x.clone(), w, mask, reverse)
    got = native.lstm(x.clone(), w, mask, reverse)
    for a, c in zip(got, want, strict=True):
        _close(a, c, dtype)
    _, c, gates = want
    tangent = layers.lstm_tangent(xd.clone(), w, mask, gates, c, reverse)
    for a, o in zip(
        native.lstm_tangent(xd.clone(), w, mask, gates, c, reverse), tangent, strict=True
    ):
        _close(a, o, dtype)
    ah, ahd = _normal(b, t, h, dtype=dtype, seed=3), _normal(b, t, h, dtype=dtype, seed=4)
    arguments = (w, mask, gates, c)
    _close(
        native.lstm_backward(ah, *arguments, reverse),
        layers.lstm_backward(ah, *arguments, reverse),
        dtype,
    )
    _, cd, zd = tangent
    for a, o in zip(
        native.lstm_dual_backward(ah, ahd, *arguments, zd, cd, reverse),
        layers.lstm_dual_backward(ah, ahd, *arguments, zd, cd, reverse),
        strict=True,
    ):
        _close(a, o, dtype)


def test_hand_written_derivatives_match_autograd():
    """Dual adjoints are reverse mode over forward mode: check them against torch's own."""
    dtype, b, t, h = torch.float64, 3, 5, 4
    mask = (torch.arange(t) < torch.tensor([[5], [2], [0]])).to(dtype)
    x, xd = _normal(b, t, 4 * h, dtype=dtype), _normal(b, t, 4 * h, dtype=dtype, seed=1)
    w = _normal(h, 4 * h, dtype=dtype, seed=2)
    ah, ahd = _normal(b, t, h, dtype=dtype, seed=3), _normal(b, t, h, dtype=dtype, seed=4)

    def run(x, w):
        return layers.lstm(x, w, mask, True)[0]

    def scalar(x, xd, w):
        h_, hd = torch.func.jvp(lambda y: run(y, w), (x,), (xd,))
        return (ah * h_ + ahd * hd).sum()

    want = torch.func.grad(scalar, argnums=(0, 1))(x, xd, w)
    _, c, gates = layers.lstm(x, w, mask, True)
    _, cd, zd = layers.lstm_tangent(xd, w, mask, gates, c, True)
    got = layers.lstm_dual_backward(ah, ahd, w, mask, gates, c, zd, cd, True)
    for a, o in zip(got, want, strict=True):
        _close(a, o, dtype)
    (first,) = torch.autograd.grad((run(x.requires_grad_(), w) * ah).sum(), x)
    _close(layers.lstm_backward(ah, w, mask, gates, c, True), first, dtype)


def test_layer_norm_derivatives_match_autograd():
    dtype, e, n, h, relu = torch.float64, 2, 3, 6, 3
    z, zd, ay, ayd = (_normal(e, n, h, dtype=dtype, seed=i) for i in range(4))
    bias, gamma, beta = (_normal(e, h, dtype=dtype, seed=i) for i in (5, 6, 7))

    def scalar(z, zd, bias, gamma, beta):
        y, yd = torch.func.jvp(lambda q: layers.act_ln(q, bias, gamma, beta, relu)[1], (z,), (zd,))
        return (ay * y + ayd * yd).sum()

    want = torch.func.grad(scalar, argnums=(0, 1, 2, 3, 4))(z, zd, bias, gamma, beta)
    shifted, _, stats = layers.act_ln(z, bias, gamma, beta, relu)
    sums = [torch.zeros(e, h, dtype=dtype) for _ in range(3)]
    got = layers.act_ln_dual_backward(ay, ayd, shifted, zd, stats, gamma, relu, sums)
    for a, o in zip([*got, *sums], want, strict=True):
        _close(a, o, dtype)
