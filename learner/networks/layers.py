"""Activation, layer norm and LSTM with their derivatives, in plain torch: the reference of C.

Shapes: `z, y [E, N, H]`, `stats [E, N, 2]` (mean, 1/std of the activation), parameters `[E, H]`;
LSTM: `x, gates [B, T, 4H]` in the order i, f, g, o, `h, c [B, T, H]`, `mask [B, T]`.
A tangent is the derivative along a direction (forward mode); "dual" adjoints are the reverse pass
through value and tangent together, which is what Eq. 6 needs (section 6).
"""

from __future__ import annotations

import torch
from torch import Tensor

LAYER_NORM_EPS = 1e-5


def activate(z: Tensor, relu_units: int) -> Tensor:
    """ReLU on the first `relu_units` units and the square on the others (B.1)."""
    if relu_units >= z.shape[-1]:
        return torch.relu(z)
    return torch.cat([torch.relu(z[..., :relu_units]), z[..., relu_units:].square()], -1)


def activation_slope(z: Tensor, relu_units: int) -> Tensor:
    """Derivative of `activate`."""
    relu = (z[..., :relu_units] > 0).to(z.dtype)
    return torch.cat([relu, 2 * z[..., relu_units:]], -1)


def act_ln(
    z: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, relu_units: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`(z + bias, layer_norm(act(z + bias)) * gamma + beta, stats)`; `z` may be overwritten."""
    z = z + bias.unsqueeze(-2)
    u = activate(z, relu_units)
    mean = u.mean(-1)
    rstd = (u.var(-1, unbiased=False) + LAYER_NORM_EPS).rsqrt()
    xhat = (u - mean.unsqueeze(-1)) * rstd.unsqueeze(-1)
    return z, xhat * gamma.unsqueeze(-2) + beta.unsqueeze(-2), torch.stack([mean, rstd], -1)


def _normalized(z: Tensor, stats: Tensor, relu_units: int) -> tuple[Tensor, Tensor]:
    rstd = stats[..., 1:]
    return (activate(z, relu_units) - stats[..., :1]) * rstd, rstd


def _project(w: Tensor, xhat: Tensor) -> Tensor:
    """w minus its components along 1 and xhat: the symmetric core of layer norm's Jacobian."""
    return w - w.mean(-1, keepdim=True) - xhat * (xhat * w).mean(-1, keepdim=True)


def act_ln_backward(
    dy: Tensor, z: Tensor, stats: Tensor, gamma: Tensor, relu_units: int, grads: list[Tensor] | None
) -> Tensor:
    """Adjoint of `act_ln`: dz; adds d(bias, gamma, beta) to `grads` (three `[E, H]`) if given."""
    xhat, rstd = _normalized(z, stats, relu_units)
    dz = rstd * _project(dy * gamma.unsqueeze(-2), xhat) * activation_slope(z, relu_units)
    if grads is not None:
        grads[0].add_(dz.sum(-2))
        grads[1].add_((dy * xhat).sum(-2))
        grads[2].add_(dy.sum(-2))
    return dz


def act_ln_tangent(zd: Tensor, z: Tensor, stats: Tensor, gamma: Tensor, relu_units: int) -> Tensor:
    """Tangent of y for the tangent `zd` of z, parameters fixed."""
    xhat, rstd = _normalized(z, stats, relu_units)
    return gamma.unsqueeze(-2) * rstd * _project(zd * activation_slope(z, relu_units), xhat)


def act_ln_dual_backward(
    ay: Tensor,
    ayd: Tensor,
    z: Tensor,
    zd: Tensor,
    stats: Tensor,
    gamma: Tensor,
    relu_units: int,
    grads: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """Adjoints of z and its tangent from those of y and its tangent; adds to `grads`."""
    xhat, rstd = _normalized(z, stats, relu_units)
    slope = activation_slope(z, relu_units)
    ud = zd * slope
    ax, axd = ay * gamma.unsqueeze(-2), ayd * gamma.unsqueeze(-2)
    m, q = (xhat * ud).mean(-1, keepdim=True), (xhat * axd).mean(-1, keepdim=True)
    pud = _project(ud, xhat)
    grads[1].add_((ay * xhat + ayd * rstd * pud).sum(-2))
    grads[2].add_(ay.sum(-2))
    s = (axd * pud).mean(-1, keepdim=True)
    au = rstd * _project(ax - rstd * (axd * m + q * ud), xhat) - rstd.square() * xhat * s
    aud = rstd * _project(axd, xhat)
    curvature = torch.zeros_like(z)
    curvature[..., relu_units:] = 2
    az = au * slope + aud * zd * curvature
    grads[0].add_(az.sum(-2))
    return az, aud * slope


def _order(steps: int, reverse: bool) -> list[int]:
    return list(range(steps - 1, -1, -1)) if reverse else list(range(steps))


def lstm(x: Tensor, w: Tensor, mask: Tensor, reverse: bool) -> tuple[Tensor, Tensor, Tensor]:
    """LSTM over projected inputs: `(h, c, gates)`; the state is zero where the mask is 0.

    In reverse the padding at a segment's end is read first and leaves the state zero (section 3).
    `x` may be overwritten.
    """
    units = w.shape[0]
    h = c = x.new_zeros(x.shape[0], units)
    out: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    for t in _order(x.shape[1], reverse):
        i, f, g, o = (x[:, t] + h @ w).split(units, -1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        live = mask[:, t, None]
        c = live * (f * c + i * g)
        h = live * o * c.tanh()
        out[t] = (h, c, torch.cat([i, f, g, o], -1))
    steps = [out[t] for t in range(x.shape[1])]
    return tuple(torch.stack(parts, 1) for parts in zip(*steps, strict=True))  # type: ignore[return-value]


def lstm_tangent(
    xd: Tensor, w: Tensor, mask: Tensor, gates: Tensor, c: Tensor, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Tangents `(hd, cd, zd)` along the input tangent `xd`; `zd` includes the recurrence."""
    units = w.shape[0]
    zero = xd.new_zeros(xd.shape[0], units)
    hd, cd, c_prev = zero, zero, zero
    out: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    for t in _order(xd.shape[1], reverse):
        i, f, g, o = gates[:, t].split(units, -1)
        zd = xd[:, t] + hd @ w
        zi, zf, zg, zo = zd.split(units, -1)
        live, tc = mask[:, t, None], c[:, t].tanh()
        cdot = i * (1 - i) * zi * g + i * (1 - g * g) * zg + f * (1 - f) * zf * c_prev + f * cd
        cd = live * cdot
        hd = live * (o * (1 - o) * zo * tc + o * (1 - tc * tc) * cdot)
        c_prev = c[:, t]
        out[t] = (hd, cd, zd)
    steps = [out[t] for t in range(xd.shape[1])]
    return tuple(torch.stack(parts, 1) for parts in zip(*steps, strict=True))  # type: ignore[return-value]


def previous(x: Tensor, reverse: bool) -> Tensor:
    """The value that the recurrence saw before each step; zero before the first."""
    pad = torch.zeros_like(x[:, :1])
    return torch.cat([x[:, 1:], pad], 1) if reverse else torch.cat([pad, x[:, :-1]], 1)


def lstm_backward(
    ah: Tensor, w: Tensor, mask: Tensor, gates: Tensor, c: Tensor, reverse: bool
) -> Tensor:
    """Adjoint of the projected inputs from the adjoint of h."""
    units = w.shape[0]
    dh = dc = ah.new_zeros(ah.shape[0], units)
    cp = previous(c, reverse)
    out: dict[int, Tensor] = {}
    for t in reversed(_order(ah.shape[1], reverse)):
        i, f, g, o = gates[:, t].split(units, -1)
        live, tc = mask[:, t, None], c[:, t].tanh()
        a = live * (ah[:, t] + dh)
        ac = live * dc + a * o * (1 - tc * tc)
        az = [ac * g * i * (1 - i), ac * cp[:, t] * f * (1 - f), ac * i * (1 - g * g)]
        out[t] = torch.cat([*az, a * tc * o * (1 - o)], -1)
        dc, dh = ac * f, out[t] @ w.mT
    return torch.stack([out[t] for t in range(ah.shape[1])], 1)


def lstm_dual_backward(
    ah: Tensor,
    ahd: Tensor,
    w: Tensor,
    mask: Tensor,
    gates: Tensor,
    c: Tensor,
    zd: Tensor,
    cd: Tensor,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Adjoints `(ax, axd)` of inputs and their tangent from those of h and its tangent."""
    units = w.shape[0]
    dh = dhd = dc = dcd = ah.new_zeros(ah.shape[0], units)
    cp, cdp = previous(c, reverse), previous(cd, reverse)
    out: dict[int, tuple[Tensor, Tensor]] = {}
    for t in reversed(_order(ah.shape[1], reverse)):
        i, f, g, o = gates[:, t].split(units, -1)
        zi, zf, zg, zo = zd[:, t].split(units, -1)
        si, sf, so, sg = i * (1 - i), f * (1 - f), o * (1 - o), 1 - g * g
        live, tc = mask[:, t, None], c[:, t].tanh()
        st = 1 - tc * tc
        a, ad = live * (ah[:, t] + dh), live * (ahd[:, t] + dhd)
        ao, aod = a * tc + ad * st * cd[:, t], ad * tc
        ac = live * dc + (a * o + ad * (so * zo - 2 * o * tc * cd[:, t])) * st
        acd = live * dcd + ad * o * st
        af, afd = ac * cp[:, t] + acd * cdp[:, t], acd * cp[:, t]
        ai, aid = ac * g + acd * sg * zg, acd * g
        ag, agd = ac * i + acd * si * zi, acd * i
        az = torch.cat(
            [
                (ai + aid * (1 - 2 * i) * zi) * si,
                (af + afd * (1 - 2 * f) * zf) * sf,
                (ag - agd * 2 * g * zg) * sg,
                (ao + aod * (1 - 2 * o) * zo) * so,
            ],
            -1,
        )
        azd = torch.cat([aid * si, afd * sf, agd * sg, aod * so], -1)
        out[t] = (az, azd)
        dc, dcd = ac * f + acd * sf * zf, acd * f
        dh, dhd = az @ w.mT, azd @ w.mT
    steps = [out[t] for t in range(ah.shape[1])]
    return tuple(torch.stack(parts, 1) for parts in zip(*steps, strict=True))  # type: ignore[return-value]
