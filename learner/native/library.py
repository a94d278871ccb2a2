"""The fused kernels: C on the CPU where it was built, plain torch elsewhere.

Same functions, arguments and results as `kernels_torch` (see there for shapes). The library is
built at installation from `src`; `METAGENRL_KERNELS=torch` opts out, `blas` of those for wide
networks only. C kernels overwrite the first argument where `kernels_torch` says "may be
overwritten".
"""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metagenrl.learner.native.built import open_library
from metagenrl.learner.networks import layers

_CHOICES = ("c", "blas", "torch")
_LEVELS = ("base", "avx2", "avx512")
_ROWS = 16  # ROWS of layers.h


def _load() -> ctypes.CDLL | None:
    choice = os.environ.get("METAGENRL_KERNELS", "c")
    if choice not in _CHOICES:
        raise ValueError(f"METAGENRL_KERNELS: got {choice!r}, allowed: {', '.join(_CHOICES)}")
    if choice == "torch":
        return None
    library = open_library()
    if library is not None:
        return library
    warnings.warn(
        "the C kernels were not built (no C compiler at installation?): updates run in plain "
        "torch, several times slower at small sizes",
        stacklevel=2,
    )
    return None


_LIBRARY = _load()
_LEVEL = _LEVELS[_LIBRARY.metagenrl_kernel_level()] if _LIBRARY is not None else "torch"
_FUNCTIONS: dict[tuple[str, torch.dtype], Any] = {}
_WIDE: dict[int, str] = {}  # by terms, see `wide_form`
if _LIBRARY is not None and _LEVEL == "avx512" and os.environ.get("METAGENRL_KERNELS") != "blas":
    if _LIBRARY.metagenrl_amx_usable():
        _WIDE = dict.fromkeys((1, 2, 3), "amx")
    else:
        _WIDE = dict.fromkeys((1, 2, 3), "avx512")
        if _LIBRARY.metagenrl_bf16_usable():
            _WIDE[1] = "bf16"


def backend() -> str:
    """What runs on the CPU in float32: `avx512+amx`, `avx512`, `avx2`, `base` or `torch`."""
    if _LIBRARY is None:
        return "torch"
    return f"{_LEVEL}+amx" if wide_form(3) == "amx" else _LEVEL


def wide_form(terms: int) -> str | None:
    """How this processor multiplies for a wide network in one call (see `mlp_wide.py`).

    `amx`, its matrix unit; `avx512`, multiply-adds in float32; `bf16`, such that take bfloat16, for
    one term where there are any; None where wide networks run layer by layer on the BLAS.
    """
    return _WIDE.get(terms)


def wide_scratch(form: str, terms: int, shape: ctypes.Structure) -> tuple[Tensor, Tensor]:
    """Room for float32 and for packed factors, each from a multiple of 64 bytes on."""
    size = ctypes.byref(shape)
    room: Callable[..., int] = getattr(_LIBRARY, f"metagenrl_{form}_room")
    packed = room(ctypes.c_long(terms), size) if form == "amx" else room(size)
    dtype = torch.bfloat16 if form == "amx" else torch.float32
    floats: int = getattr(_LIBRARY, f"metagenrl_{form}_work")(size)
    return _aligned(torch.empty(floats + 16)), _aligned(torch.empty(packed + 32, dtype=dtype))


def _aligned(x: Tensor) -> Tensor:
    return x[-x.data_ptr() % 64 // x.element_size() :]


def scratch(like: Tensor, room: str, *sizes: ctypes.Structure, parts: int = 1) -> list[Tensor]:
    """As many tensors as kernel `room` says how long they have to be, for `sizes`."""
    counts = (ctypes.c_long * parts)()
    call(room, like.dtype, *sizes, counts)
    return [like.new_empty(count) for count in counts]


def usable(x: Tensor) -> bool:
    """Whether the C kernels take `x`: on the CPU, and no graph is being recorded."""
    return _LIBRARY is not None and x.device.type == "cpu" and not torch.is_grad_enabled()


Argument = int | Tensor | ctypes.Structure | ctypes.Array[Any] | None


def call(name: str, dtype: torch.dtype, *arguments: Argument) -> None:
    """Call kernel `name` for `dtype`: tensors by address, structures by reference.

    Kernels named bf16_ and amx_ take bfloat16 beside float32. Raises `ValueError` for a tensor
    of another type. Contiguity is the caller's to see to.
    """
    key = (name, dtype)
    function = _FUNCTIONS.get(key)
    if function is None:
        suffix = f"f32_{_LEVEL}" if dtype == torch.float32 else "f64_base"
        function = _FUNCTIONS[key] = getattr(_LIBRARY, f"{name}_{suffix}")
        function.restype = None
    converted: list[Any] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            converted += map(ctypes.c_void_p, addresses(name, dtype, argument))
        elif isinstance(argument, (ctypes.Structure, ctypes.Array)):
            converted.append(ctypes.byref(argument))
        else:
            converted.append(ctypes.c_void_p(None) if argument is None else ctypes.c_long(argument))
    function(*converted)


def addresses(name: str, dtype: torch.dtype, *tensors: Tensor) -> list[int]:
    """Where kernel `name` for `dtype` finds the tensors. Raises `ValueError` as `call` does."""
    allowed = (dtype, torch.bfloat16) if name.startswith(("bf16_", "amx_")) else (dtype,)
    for tensor in tensors:
        if tensor.dtype not in allowed:
            raise ValueError(f"{name}: got a tensor of {tensor.dtype}, allowed: {allowed}")
    return [tensor.data_ptr() for tensor in tensors]


class Ring(ctypes.Structure):
    """`ring` of `replay.h`."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("capacity", "size", "oldest", "O", "A")),
        *((name, ctypes.c_void_p) for name in ("observations", "actions", "rewards")),
        *((name, ctypes.c_void_p) for name in ("next_observations", "terminated", "ends")),
    ]


def gather(ring: Ring, segments: int, length: int, *places: int) -> bool:
    """Put segments of a replay buffer together; False where there is no library.

    `places` are addresses: of the ages that segments start at, and of the five arrays of
    `metagenrl.agents.experience.segments.Segments`.
    """
    if _LIBRARY is None:
        return False
    sizes, pointers = map(ctypes.c_long, (segments, length)), map(ctypes.c_void_p, places)
    _LIBRARY.metagenrl_gather(ctypes.byref(ring), *sizes, *pointers)
    return True


def act_ln(
    z: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, relu_units: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See `layers.act_ln`; overwrites `z`."""
    if not usable(z):
        return layers.act_ln(z, bias, gamma, beta, relu_units)
    (e, n, h), y = z.shape, torch.empty_like(z)
    stats = z.new_empty(e, n, 2)
    p = (bias.contiguous(), gamma.contiguous(), beta.contiguous())
    call("act_ln", z.dtype, e, n, h, relu_units, z, *p, y, stats)
    return z, y, stats


def act_ln_backward(
    dy: Tensor, z: Tensor, stats: Tensor, gamma: Tensor, relu_units: int, grads: list[Tensor] | None
) -> Tensor:
    """See `layers.act_ln_backward`."""
    if not usable(z):
        return layers.act_ln_backward(dy, z, stats, gamma, relu_units, grads)
    (e, n, h), dz = z.shape, torch.empty_like(z)
    dbias, dgamma, dbeta = _accumulators(grads, z)
    work = z.new_empty(2 * h)
    tensors = (dy, z, stats, gamma.contiguous(), dz, dgamma, dbeta, dbias, work)
    call("act_ln_backward", z.dtype, e, n, h, relu_units, *tensors)
    _accumulate(grads, [dbias, dgamma, dbeta])
    return dz


def act_ln_tangent(zd: Tensor, z: Tensor, stats: Tensor, gamma: Tensor, relu_units: int) -> Tensor:
    """See `layers.act_ln_tangent`."""
    if not usable(z):
        return layers.act_ln_tangent(zd, z, stats, gamma, relu_units)
    (e, n, h), yd = z.shape, torch.empty_like(z)
    work = z.new_empty(2 * h)
    call("act_ln_tangent", z.dtype, e, n, h, relu_units, zd, z, stats, gamma.contiguous(), yd, work)
    return yd


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
    """See `layers.act_ln_dual_backward`."""
    if not usable(z):
        return layers.act_ln_dual_backward(ay, ayd, z, zd, stats, gamma, relu_units, grads)
    e, n, h = z.shape
    az, azd = torch.empty_like(z), torch.empty_like(z)
    dbias, dgamma, dbeta = _accumulators(grads, z)
    work = z.new_empty(4 * h)
    tensors = (ay, ayd, z, zd, stats, gamma.contiguous(), az, azd, dgamma, dbeta, dbias, work)
    call("act_ln_dual_backward", z.dtype, e, n, h, relu_units, *tensors)
    _accumulate(grads, [dbias, dgamma, dbeta])
    return az, azd


def _accumulators(grads: list[Tensor] | None, z: Tensor) -> list[Tensor | None]:
    """Contiguous places for the gradients of bias, gamma, beta: the given ones if they are."""
    if grads is None:
        return [None, None, None]
    return [
        g if g.is_contiguous() else torch.zeros_like(g, memory_format=torch.contiguous_format)
        for g in grads
    ]


def _accumulate(grads: list[Tensor] | None, parts: list[Tensor | None]) -> None:
    for total, part in zip(grads or [], parts, strict=False):
        if part is not None and part is not total:
            total.add_(part)


def lstm(x: Tensor, w: Tensor, mask: Tensor, reverse: bool) -> tuple[Tensor, Tensor, Tensor]:
    """See `layers.lstm`; overwrites `x`."""
    if not usable(x):
        return layers.lstm(x, w, mask, reverse)
    b, t, h = x.shape[0], x.shape[1], w.shape[0]
    out, c = x.new_empty(b, t, h), x.new_empty(b, t, h)
    call("lstm", x.dtype, b, t, h, int(reverse), w.contiguous(), mask, x, out, c)
    return out, c, x


def lstm_tangent(
    xd: Tensor, w: Tensor, mask: Tensor, gates: Tensor, c: Tensor, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """See `layers.lstm_tangent`; overwrites `xd`."""
    if not usable(xd):
        return layers.lstm_tangent(xd, w, mask, gates, c, reverse)
    b, t, h = c.shape
    hd, cd = torch.empty_like(c), torch.empty_like(c)
    tensors = (w.contiguous(), mask, gates, c, xd, hd, cd)
    call("lstm_tangent", xd.dtype, b, t, h, int(reverse), *tensors)
    return hd, cd, xd


def lstm_backward(
    ah: Tensor, w: Tensor, mask: Tensor, gates: Tensor, c: Tensor, reverse: bool
) -> Tensor:
    """See `layers.lstm_backward`."""
    if not usable(ah):
        return layers.lstm_backward(ah, w, mask, gates, c, reverse)
    b, t, h = c.shape
    ax, work = torch.empty_like(gates), ah.new_empty(2 * _ROWS * h)
    tensors = (w.mT.contiguous(), mask, gates, c, ah, ax, work)
    call("lstm_backward", ah.dtype, b, t, h, int(reverse), *tensors)
    return ax


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
    """See `layers.lstm_dual_backward`."""
    if not usable(ah):
        return layers.lstm_dual_backward(ah, ahd, w, mask, gates, c, zd, cd, reverse)
    b, t, h = c.shape
    ax, axd = torch.empty_like(gates), torch.empty_like(gates)
    work = ah.new_empty(4 * _ROWS * h)
    tensors = (w.mT.contiguous(), mask, gates, c, zd, cd, ah, ahd, ax, axd, work)
    call("lstm_dual_backward", ah.dtype, b, t, h, int(reverse), *tensors)
    return ax, axd
